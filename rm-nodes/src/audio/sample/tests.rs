//! All pairs of formats against a plain reference: exact integers in 128 bits, where a value is
//! `number / 2^1100` of full scale.

use super::*;
use proptest::prelude::*;

/// The value of a sample as a fraction, `numerator / 2^exponent`; `None` where it is no number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Number { numerator: i128, exponent: u32 },
    Infinite { negative: bool },
    NaN,
}

fn of_f64(value: f64) -> Value {
    if value.is_nan() {
        return Value::NaN;
    }
    if value.is_infinite() {
        return Value::Infinite { negative: value < 0.0 };
    }
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52) & 0x7ff, i128::from(bits & ((1 << 52) - 1)));
    let whole = if exponent == 0 { fraction } else { fraction | (1 << 52) };
    let sign = if value < 0.0 { -1 } else { 1 };
    // value = whole * 2^(exponent - 1075), or of the smallest exponent where that is 0.
    let exponent = 1_075 - i64::try_from(exponent.max(1)).unwrap();
    if exponent < 0 {
        // 2^53 and more: beyond full scale of everything, and exact enough as a bound.
        let shift = exponent.unsigned_abs().min(60);
        return Value::Number { numerator: (sign * whole) << shift, exponent: 0 };
    }
    Value::Number { numerator: sign * whole, exponent: u32::try_from(exponent).unwrap() }
}

fn read(bytes: &[u8], format: AudioFormat) -> Value {
    let number = |numerator: i64, exponent| Value::Number { numerator: numerator.into(), exponent };
    match format {
        AudioFormat::U8 => number(i64::from(bytes[0]) - 128, 7),
        AudioFormat::I16 => number(i16::from_le_bytes(bytes.try_into().unwrap()).into(), 15),
        AudioFormat::I24 => {
            let value = i64::from(bytes[0]) + 256 * i64::from(bytes[1]);
            number(value + 65_536 * i64::from(bytes[2] as i8), 23)
        }
        AudioFormat::I32 => number(i32::from_le_bytes(bytes.try_into().unwrap()).into(), 31),
        AudioFormat::F32 => of_f64(f32::from_le_bytes(bytes.try_into().unwrap()).into()),
        AudioFormat::F64 => of_f64(f64::from_le_bytes(bytes.try_into().unwrap())),
        other => panic!("{other} has no reference"),
    }
}

/// The integer of `bits` bits nearest to a value of the scale, halves to the even one, clamped.
fn integer(value: Value, bits: u32) -> i64 {
    let (min, max) = (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
    let rounded = match value {
        Value::NaN => 0,
        Value::Infinite { negative } => {
            if negative {
                min
            } else {
                max
            }
        }
        Value::Number { numerator, exponent } if exponent < bits => {
            numerator.saturating_mul(1 << (bits - 1 - exponent))
        }
        // Below half of a step.
        Value::Number { exponent, .. } if exponent - (bits - 1) > 100 => 0,
        Value::Number { numerator, exponent } => {
            let divisor = 1_i128 << (exponent - (bits - 1));
            let (whole, rest) = (numerator.div_euclid(divisor), numerator.rem_euclid(divisor));
            let up = 2 * rest > divisor || (2 * rest == divisor && whole % 2 != 0);
            whole + i128::from(up)
        }
    };
    i64::try_from(rounded.clamp(min, max)).unwrap()
}

/// What a sample has to become, or `None` where anything that is not a number will do.
fn expected(bytes: &[u8], from: AudioFormat, to: AudioFormat) -> Option<Vec<u8>> {
    let value = read(bytes, from);
    let as_f64 = || match (from, value) {
        (AudioFormat::F64, _) => f64::from_le_bytes(bytes.try_into().unwrap()),
        (AudioFormat::F32, _) => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
        (_, Value::Number { numerator, exponent }) => {
            // Both are exact.
            numerator as f64 / (1_i64 << exponent) as f64
        }
        _ => unreachable!("integers are numbers"),
    };
    Some(match to {
        AudioFormat::U8 => vec![u8::try_from(integer(value, 8) + 128).unwrap()],
        AudioFormat::I16 => i16::try_from(integer(value, 16)).unwrap().to_le_bytes().to_vec(),
        AudioFormat::I24 => integer(value, 24).to_le_bytes()[..3].to_vec(),
        AudioFormat::I32 => i32::try_from(integer(value, 32)).unwrap().to_le_bytes().to_vec(),
        _ if value == Value::NaN => return None,
        AudioFormat::F32 => (as_f64() as f32).to_le_bytes().to_vec(),
        AudioFormat::F64 => as_f64().to_le_bytes().to_vec(),
        other => panic!("{other} has no reference"),
    })
}

fn check_all_pairs(from: AudioFormat, bytes: &[u8]) {
    for to in AudioFormat::ALL.iter().copied() {
        let size = from.bytes_per_sample();
        let mut out = vec![0xaa; bytes.len() / size * to.bytes_per_sample()];
        convert((bytes, from), (&mut out, to));
        for (from_bytes, to_bytes) in bytes.chunks(size).zip(out.chunks(to.bytes_per_sample())) {
            match expected(from_bytes, from, to) {
                Some(expected) => assert_eq!(to_bytes, expected, "{from} to {to}: {from_bytes:?}"),
                None => assert_eq!(read(to_bytes, to), Value::NaN, "{from} to {to}"),
            }
        }
    }
}

#[test]
fn every_short_integer_becomes_what_the_reference_says() {
    check_all_pairs(AudioFormat::U8, &(0..=u8::MAX).collect::<Vec<_>>());
    let all: Vec<_> = (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect();
    check_all_pairs(AudioFormat::I16, &all);
}

/// Integers of 32 bits at the ends of the scale, and around the halves of each shorter format.
fn edges() -> Vec<i32> {
    let mut edges = vec![0];
    for shift in [8, 16, 24] {
        for step in [0, 1, 2, 3, 5, 100, (1 << (31 - shift)) - 1] {
            let half = 1_i64 << (shift - 1);
            for around in [-half - 1, -half, -half + 1, -1, 0, 1, half - 1, half, half + 1] {
                for sign in [-1, 1] {
                    let value = sign * ((step << shift) + around);
                    edges.push(value.clamp(i32::MIN.into(), i32::MAX.into()) as i32);
                }
            }
        }
    }
    edges
}

#[test]
fn values_at_halves_and_ends_become_what_the_reference_says() {
    let edges = edges();
    let bytes: Vec<_> = edges.iter().flat_map(|value| value.to_le_bytes()).collect();
    check_all_pairs(AudioFormat::I32, &bytes);
    let bytes = edges.iter().flat_map(|value| (value >> 8).to_le_bytes()[..3].to_vec());
    check_all_pairs(AudioFormat::I24, &bytes.collect::<Vec<_>>());
    let extreme = [0.0, -0.0, 1.0, -1.0, 1.5, -1.5, 1e30, -1e30, f64::MIN_POSITIVE, 5e-324];
    let no_numbers = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, f64::MIN];
    let scaled = edges.iter().flat_map(|value| {
        let value = f64::from(*value) / FULL_SCALE;
        [value, value.next_up(), value.next_down(), value / 3.0]
    });
    let all: Vec<_> = scaled.chain(extreme).chain(no_numbers).collect();
    check_all_pairs(
        AudioFormat::F64,
        &all.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(),
    );
    let all = all.iter().flat_map(|v| [*v as f32, (*v as f32).next_up()]);
    check_all_pairs(AudioFormat::F32, &all.flat_map(f32::to_le_bytes).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn any_bytes_become_what_the_reference_says(bytes in prop::collection::vec(any::<u8>(), 0..480)) {
        let bytes = &bytes[..bytes.len() / 24 * 24];
        for from in AudioFormat::ALL {
            check_all_pairs(*from, bytes);
        }
    }

    #[test]
    fn any_values_about_the_scale_become_what_the_reference_says(
        values in prop::collection::vec(-1.2_f64..1.2, 1..50),
    ) {
        let bytes: Vec<_> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        check_all_pairs(AudioFormat::F64, &bytes);
        let bytes: Vec<_> = values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
        check_all_pairs(AudioFormat::F32, &bytes);
    }
}
