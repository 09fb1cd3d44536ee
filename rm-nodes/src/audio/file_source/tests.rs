//! Tests of the file source.

use super::*;
use crate::testing::{bytes, make};
use hound::{SampleFormat, WavSpec, WavWriter};
use rm_core::NodeRegistry;
use serde_json::{Value, json};
use std::fs;

fn spec(sample_format: SampleFormat, bits_per_sample: u16) -> WavSpec {
    WavSpec { channels: 2, sample_rate: 8_000, bits_per_sample, sample_format }
}

fn write_ints(path: &Path, bits: u16, samples: &[i32]) {
    let mut writer = WavWriter::create(path, spec(SampleFormat::Int, bits)).unwrap();
    for sample in samples {
        writer.write_sample(*sample).unwrap();
    }
    writer.finalize().unwrap();
}

/// The audio of a source, and what it says of its files.
fn read_all(node: &mut dyn Node) -> Result<(Vec<RuntimeData>, Vec<Value>), NodeError> {
    let mut output = Output::default();
    node.initialize()?;
    while node.produce(&mut output)? != Produced::End {}
    node.finish(&mut output)?;
    let (mut audio, mut facts) = (Vec::new(), Vec::new());
    for (port, item) in output.drain_ports() {
        match port {
            None => audio.push(item),
            port => {
                assert_eq!(port, Some("tags"));
                facts.push(item.parse_json()?);
            }
        }
    }
    Ok((audio, facts))
}

fn read(params: Value) -> Result<Vec<RuntimeData>, NodeError> {
    Ok(read_all(make("AudioFileSourceNode", params)?.as_mut())?.0)
}

#[test]
fn each_sample_format_comes_out_as_it_lies_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let check = |format: AudioFormat, expected: Vec<u8>| {
        let out = read(json!({"path": path})).unwrap();
        let view = out[0].as_audio().unwrap();
        assert_eq!((view.format, view.channels, view.sample_rate), (format, 2, 8_000));
        assert_eq!(bytes(&out), expected, "{format}");
    };
    let values = [-100, 100, 0, 1];
    write_ints(&path, 8, &values);
    check(AudioFormat::U8, vec![28, 228, 128, 129]);
    write_ints(&path, 16, &values);
    check(AudioFormat::I16, values.map(|v| (v as i16).to_le_bytes()).concat());
    write_ints(&path, 24, &values);
    let low_three = values.map(|value: i32| value.to_le_bytes()[..3].to_vec());
    check(AudioFormat::I24, low_three.concat());
    write_ints(&path, 32, &[i32::MIN, i32::MAX, 5, -5]);
    let wide = [i32::MIN, i32::MAX, 5, -5].map(i32::to_le_bytes);
    check(AudioFormat::I32, wide.concat());

    let mut writer = WavWriter::create(&path, spec(SampleFormat::Float, 32)).unwrap();
    for sample in [0.5_f32, -0.25] {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    check(AudioFormat::F32, [0.5_f32, -0.25].map(f32::to_le_bytes).concat());
}

#[test]
fn chunks_have_the_length_asked_for_and_the_last_one_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 16, &[3; 2 * 200]);
    let out = read(json!({"path": path, "chunk_ms": 10})).unwrap();
    let frames: Vec<_> = out.iter().map(|item| item.as_audio().unwrap().frames()).collect();
    assert_eq!(frames, [80, 80, 40]);
}

#[test]
fn several_files_follow_one_another_with_a_gap_of_silence_after_each() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.wav", "b.wav"].map(|name| folder.path().join(name));
    write_ints(&paths[0], 8, &[5; 2 * 3]);
    write_ints(&paths[1], 8, &[6; 2 * 2]);
    let out = read(json!({"path": paths, "gap_ms": 1})).unwrap();
    let expected = [vec![133; 6], vec![128; 16], vec![134; 4], vec![128; 16]];
    assert_eq!(bytes(&out), expected.concat());
}

#[test]
fn relative_paths_start_from_the_base_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_ints(&folder.path().join("a.wav"), 16, &[1, 2]);
    let mut context = NodeContext { params: json!({"path": "a.wav"}), ..NodeContext::default() };
    let base = json!(folder.path());
    context.metadata.insert(NodeContext::BASE_DIR.to_owned(), base);
    let mut registry = NodeRegistry::new();
    register(&mut registry).unwrap();
    let mut source = registry.factory("AudioFileSourceNode").unwrap()(&context).unwrap();
    assert_eq!(read_all(source.as_mut()).unwrap().0.len(), 1);
}

#[test]
fn an_empty_file_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 16, &[]);
    assert!(read(json!({"path": path})).unwrap().is_empty());
}

/// Why a file that holds `content` fails, which it does before the first chunk.
fn check_refused(content: Option<&[u8]>, expected_action: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    if let Some(content) = content {
        fs::write(&path, content).unwrap();
    }
    let mut node = make("AudioFileSourceNode", json!({"path": path})).unwrap();
    match node.initialize().unwrap_err() {
        NodeError::File { action, path: named, source } => {
            assert_eq!((action, named), (expected_action, path));
            source.to_string()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_or_broken_file_fails_before_the_first_chunk() {
    check_refused(None, "open");
    check_refused(Some(b""), "decode");
    check_refused(Some(b"this is not a sound but a text"), "decode");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.wav");
    write_ints(&path, 16, &[7; 1_000]);
    let good = fs::read(&path).unwrap();
    let cause = check_refused(Some(&good[..1_000]), "decode");
    assert_eq!(cause, "its header promises at least 2044 bytes, but it has 1000");
    check_refused(Some(&good[..30]), "decode");
    let mut no_channels = good.clone();
    no_channels[22..24].fill(0);
    check_refused(Some(&no_channels), "decode");
    let mut no_rate = good.clone();
    no_rate[24..28].fill(0);
    check_refused(Some(&no_rate), "decode");
}

#[test]
fn a_folder_is_no_file_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = make("AudioFileSourceNode", json!({"path": folder.path()})).unwrap();
    let error = node.initialize().unwrap_err();
    assert!(matches!(error, NodeError::File { action: "read", .. }), "{error}");
}

#[test]
fn files_that_do_not_agree_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.wav", "b.wav"].map(|name| folder.path().join(name));
    write_ints(&paths[0], 16, &[1, 2]);
    write_ints(&paths[1], 24, &[1, 2]);
    let mut node = make("AudioFileSourceNode", json!({"path": paths})).unwrap();
    let message = node.initialize().unwrap_err().to_string();
    for part in ["a.wav", "b.wav", "i16 of 2 channels", "i24 of 2 channels"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn wrong_parameters_are_refused() {
    for params in [
        json!(null),
        json!({"path": []}),
        json!({"path": ""}),
        json!({"path": 7}),
        json!({"path": "a.wav", "chunk_ms": 0}),
        json!({"path": "a.wav", "gap_ms": 600_001}),
    ] {
        assert!(make("AudioFileSourceNode", params.clone()).is_err(), "{params}");
    }
}

#[test]
fn a_source_takes_no_input() {
    let mut node = make("AudioFileSourceNode", json!({"path": "a.wav"})).unwrap();
    let item = RuntimeData::text("hello").unwrap();
    let error = node.process(item, &mut Output::default()).unwrap_err();
    assert!(matches!(error, NodeError::Input { .. }));
}

fn frames(items: &[RuntimeData]) -> Vec<usize> {
    items.iter().map(|item| item.as_audio().unwrap().frames()).collect()
}

#[test]
fn a_part_of_each_file_is_read_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let samples: Vec<i32> = (0..2 * 200).collect();
    write_ints(&path, 16, &samples);
    let check = |start: u64, duration: Option<u64>, expected: std::ops::Range<i32>| {
        let out = read(json!({"path": path, "start_ms": start, "duration_ms": duration})).unwrap();
        let wanted: Vec<u8> = expected.flat_map(|value| (value as i16).to_le_bytes()).collect();
        assert_eq!(bytes(&out), wanted, "{start} {duration:?}");
    };
    check(0, None, 0..400);
    check(10, None, 160..400);
    check(10, Some(5), 160..240);
    check(24, Some(1_000), 384..400);
    check(0, Some(0), 0..0);
    let mut node = make("AudioFileSourceNode", json!({"path": path, "start_ms": 25})).unwrap();
    let error = node.initialize().unwrap_err().to_string();
    assert!(error.contains("less than the 25 ms of"), "{error}");
}

#[test]
fn chunks_have_the_times_of_their_first_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 16, &[3; 2 * 203]);
    let params = json!({"path": [path, path], "chunk_ms": 7, "gap_ms": 3});
    let before = SystemTime::now();
    let out = read(params).unwrap();
    let begin = out[0].header().timestamp;
    assert!(begin >= before && begin <= SystemTime::now());
    let mut position = 0;
    for (item, frames) in out.iter().zip(frames(&out)) {
        let time = item.header().timestamp.duration_since(begin).unwrap();
        assert_eq!(time, Duration::from_micros(125 * position));
        position += frames as u64;
    }
    assert_eq!(position, 2 * (203 + 24));
}

#[test]
fn facts_come_before_the_audio_of_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 24, &[1, 2, 3, 4]);
    let mut node = make("AudioFileSourceNode", json!({"path": [path, path]})).unwrap();
    let mut output = Output::default();
    node.initialize().unwrap();
    while node.produce(&mut output).unwrap() != Produced::End {}
    let ports: Vec<_> = output.drain_ports().map(|(port, _)| port).collect();
    assert_eq!(ports, [Some("tags"), None, Some("tags"), None]);
    let facts = read_all(make("AudioFileSourceNode", json!({"path": path})).unwrap().as_mut());
    assert_eq!(
        facts.unwrap().1,
        [json!({
            "path": path, "format": "wav", "sample_rate": 8_000, "channels": 2,
            "sample_format": "i24", "frames": 2, "tags": {},
        })]
    );
}

/// What the plan is told of a source.
fn planned(params: Value) -> String {
    let mut registry = NodeRegistry::new();
    register(&mut registry).unwrap();
    let node_type = "AudioFileSourceNode".to_owned();
    let context = NodeContext { node_type, params, ..NodeContext::default() };
    registry.formats(&context).unwrap().given(&[])[0].to_string()
}

#[test]
fn the_plan_is_told_exactly_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    assert_eq!(planned(json!({"path": path})), "audio");
    fs::write(&path, "no sound").unwrap();
    assert_eq!(planned(json!({"path": path})), "audio");
    assert_eq!(planned(json!({"path": folder.path()})), "audio");
    write_ints(&path, 24, &[1, 2, 3, 4]);
    let wanted = "audio (i24, interleaved, 2 channels, 8000 Hz)";
    assert_eq!(planned(json!({"path": path})), wanted);
}

/// A WAV file of this format chunk and this data, with a chunk that nobody knows.
fn wav(format: &[u8], data_len: u32, data: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    file.extend((format.len() as u32).to_le_bytes());
    file.extend(format);
    file.extend(b"odd \x03\0\0\0abc\0data");
    file.extend(data_len.to_le_bytes());
    file.extend(data);
    file
}

#[test]
fn wav_of_unknown_length_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let format = [1, 0, 2, 0, 0x40, 0x1f, 0, 0, 0, 0x7d, 0, 0, 4, 0, 16, 0];
    for data_len in [0, u32::MAX] {
        // The last frame is not complete.
        fs::write(&path, wav(&format, data_len, &[1, 2, 3, 4, 5, 6, 7, 8, 9])).unwrap();
        let (audio, facts) =
            read_all(make("AudioFileSourceNode", json!({"path": path})).unwrap().as_mut()).unwrap();
        assert_eq!(bytes(&audio), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(facts[0]["frames"], Value::Null);
    }
}

#[test]
fn a_header_that_promises_absurd_audio_makes_no_huge_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let mut format = vec![3, 0, 0xff, 0xff];
    format.extend(u32::MAX.to_le_bytes());
    format.extend([0, 0, 0, 0, 0, 0, 64, 0]);
    let frame = 65_535 * 8;
    fs::write(&path, wav(&format, frame, &vec![0; frame as usize])).unwrap();
    let params = json!({"path": path, "chunk_ms": 10_000, "gap_ms": 600_000});
    let mut node = make("AudioFileSourceNode", params).unwrap();
    node.initialize().unwrap();
    // The only frame, and a piece of the silence behind it.
    for expected in [1, MAX_CHUNK_BYTES / frame as usize] {
        let mut output = Output::default();
        node.produce(&mut output).unwrap();
        let audio = output.drain_ports().find(|(port, _)| port.is_none()).unwrap().1;
        assert_eq!(audio.as_audio().unwrap().frames(), expected);
    }
}

#[test]
fn long_wav_and_extensible_headers_and_doubles_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let mut format = vec![0xfe, 0xff, 1, 0, 0x40, 0x1f, 0, 0, 0, 0xfa, 0, 0, 8, 0, 64, 0];
    format.extend([22, 0, 64, 0, 4, 0, 0, 0, 3, 0]);
    format.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
    let samples = [0.1_f64, -1e300].map(f64::to_le_bytes).concat();
    let mut file = wav(&format, u32::MAX, &samples);
    file[..4].copy_from_slice(b"RF64");
    let sizes = [&b"ds64\x1c\0\0\0"[..], &[0; 8], &16_u64.to_le_bytes(), &[0; 12]].concat();
    file.splice(12..12, sizes);
    fs::write(&path, &file).unwrap();
    let out = read(json!({"path": path})).unwrap();
    assert_eq!(out[0].as_audio().unwrap().format, AudioFormat::F64);
    assert_eq!(bytes(&out), samples);
    fs::write(&path, &file[..file.len() - 1]).unwrap();
    let error = read(json!({"path": path})).unwrap_err();
    assert!(matches!(error, NodeError::File { action: "decode", .. }), "{error}");
}

#[test]
fn what_cannot_be_read_says_what_it_is_and_what_can_be() {
    let cause = check_refused(Some(b"this is not a sound but a text"), "decode");
    assert!(cause.starts_with("it begins with \"this is not \""), "{cause}");
    assert!(cause.contains("WAV"), "{cause}");
    let adpcm = [2, 0, 1, 0, 0x40, 0x1f, 0, 0, 0, 0x7d, 0, 0, 4, 0, 4, 0];
    let cause = check_refused(Some(&wav(&adpcm, 4, &[0; 4])), "decode");
    assert!(cause.contains("4 bits in the format 0x2"), "{cause}");
    let cause = check_refused(Some(b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab"), "decode");
    assert!(cause.contains("no format chunk"), "{cause}");
    #[cfg(not(feature = "codecs"))]
    for (begin, name) in [(&b"fLaC"[..], "FLAC"), (b"OggS", "Ogg"), (b"ID3", "MP3")] {
        let cause = check_refused(Some(begin), "decode");
        let wanted = format!("it is {name}, for which this build lacks the feature \"codecs\"");
        assert_eq!(cause, wanted);
    }
}

#[test]
fn reading_wav_takes_no_memory_per_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 16, &vec![1; 2 * 8_000 * 10]);
    let mut node = make("AudioFileSourceNode", json!({"path": path})).unwrap();
    node.initialize().unwrap();
    let mut output = Output::default();
    let mut produce = |count: usize| {
        for _ in 0..count {
            node.produce(&mut output).unwrap();
            output.clear();
        }
    };
    produce(200);
    assert_eq!(allocation_counter::measure(|| produce(200)).count_total, 0);
}

#[cfg(feature = "codecs")]
mod coded {
    use super::*;
    use crate::audio::codec::tests::{FILES, file};

    #[test]
    fn files_are_recognised_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        for (name, codec, rate, channels, count) in FILES {
            let path = folder.path().join("sound.wav");
            fs::copy(file(name), &path).unwrap();
            let mut node = make("AudioFileSourceNode", json!({"path": path})).unwrap();
            let (audio, facts) = read_all(node.as_mut()).unwrap();
            let said = &facts[0];
            assert_eq!(
                (&said["format"], &said["frames"]),
                (&json!(codec), &json!(count)),
                "{name}"
            );
            assert_eq!((&said["sample_rate"], &said["channels"]), (&json!(rate), &json!(channels)));
            let chunk = rate as usize / 50;
            let frames = frames(&audio);
            assert!(frames[..frames.len() - 1].iter().all(|frames| *frames == chunk), "{name}");
            if let Some(count) = count {
                assert_eq!(frames.iter().sum::<usize>() as u64, count, "{name}");
            }
            let format = audio[0].as_audio().unwrap().format;
            let shape = match channels {
                1 => "mono".to_owned(),
                channels => format!("interleaved, {channels} channels"),
            };
            let wanted = format!("audio ({format}, {shape}, {rate} Hz)");
            assert_eq!(planned(json!({"path": path})), wanted, "{name}");
        }
    }

    #[test]
    fn a_part_of_a_coded_file_begins_and_ends_at_its_frames() {
        for (name, _, rate, _, count) in FILES {
            let Some(count) = count else {
                continue;
            };
            let all = count * 1000 / u64::from(rate);
            for (start, duration) in [(0, 30), (40, 50), (all / 2, 1_000_000)] {
                let params =
                    json!({"path": file(name), "start_ms": start, "duration_ms": duration});
                let given: usize = frames(&read(params).unwrap()).iter().sum();
                let first = start * u64::from(rate) / 1000;
                let wanted = (count - first).min(duration * u64::from(rate) / 1000);
                assert_eq!(given as u64, wanted, "{name} from {start}");
            }
        }
    }

    #[test]
    fn a_file_that_ends_too_early_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for (name, ..) in FILES {
            let whole = fs::read(file(name)).unwrap();
            for part in [1, 4, 40, 60, whole.len() * 2 / 5, whole.len() * 4 / 5] {
                fs::write(&path, &whole[..part]).unwrap();
                let done = read(json!({"path": path}));
                if name == "no-header.mp3" && part > 1_000 {
                    // Nothing says how long it should be.
                    assert!(done.is_ok());
                    continue;
                }
                let error = done.map(|items| items.len());
                assert!(matches!(error, Err(NodeError::File { .. })), "{name} {part}: {error:?}");
            }
        }
    }
}
