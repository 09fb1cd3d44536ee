//! The bytes of serde-brief, item by item: what is read and written without knowing a type.
//!
//! Main types: [`Reader`] and [`Writer`]. Bytes come from another process: reading never panics,
//! allocates nothing and does not recurse. Whether starts and ends match is for the caller to see.

use std::io::{self, Write};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
/// Seven bits a byte, the lowest first; the top bit says that more follow.
const UNSIGNED: u8 = 3;
/// The same of the number in zigzag: 0, -1, 1, -2, ...
const SIGNED: u8 = 4;
const F32: u8 = 6;
const F64: u8 = 7;
const BYTES: u8 = 10;
const STR: u8 = 11;
const LIST_START: u8 = 15;
const LIST_END: u8 = 16;
const MAP_START: u8 = 17;
const MAP_END: u8 = 18;

/// Bytes of the longest integer: 128 bits, seven in each.
const LONGEST: usize = 19;

/// Longest part of a key that a path shows, in characters.
const SHOWN_OF_KEY: usize = 64;

/// One item of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// `None`, unit.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer of an unsigned type.
    Unsigned(u128),
    /// An integer of a signed type, which may be positive.
    Signed(i128),
    /// A number of single precision.
    F32(f32),
    /// A number of double precision.
    F64(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Text.
    Str(&'a str),
    /// Elements follow, then [`ListEnd`](Self::ListEnd).
    ListStart,
    /// The end of a sequence.
    ListEnd,
    /// Pairs of key and value follow, then [`MapEnd`](Self::MapEnd).
    MapStart,
    /// The end of a map.
    MapEnd,
}

impl Item<'_> {
    /// What Python calls the type.
    pub const fn python_type(&self) -> &'static str {
        match self {
            Self::Null => "None",
            Self::Bool(_) => "bool",
            Self::Unsigned(_) | Self::Signed(_) => "int",
            Self::F32(_) | Self::F64(_) => "float",
            Self::Bytes(_) => "bytes",
            Self::Str(_) => "str",
            Self::ListStart | Self::ListEnd => "list",
            Self::MapStart | Self::MapEnd => "dict",
        }
    }

    /// How a path goes on below this key: `.price`, `["unit price"]`, `[7]`.
    pub fn step(&self) -> String {
        match self {
            Self::Str(key) if is_identifier(key) => format!(".{key}"),
            key => format!("[{}]", key.label()),
        }
    }

    /// A key as Python writes it, but not all of a long one: `"price"`, `7`.
    pub fn label(&self) -> String {
        match self {
            Self::Str(key) => match key.char_indices().nth(SHOWN_OF_KEY) {
                Some((end, _)) => format!("{:?}...", &key[..end]),
                None => format!("{key:?}"),
            },
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Unsigned(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::F32(number) => number.to_string(),
            Self::F64(number) => number.to_string(),
            Self::ListStart => "<tuple>".to_owned(),
            other => format!("<{}>", other.python_type()),
        }
    }
}

fn is_identifier(key: &str) -> bool {
    let mut chars = key.chars();
    key.len() <= SHOWN_OF_KEY
        && chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|next| next.is_alphanumeric() || next == '_')
}

/// Bytes that are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// They end too early.
    #[error("the bytes end within a value")]
    Truncated,
    /// They go on after the value.
    #[error("{len} bytes follow the value")]
    Excess {
        /// How many.
        len: usize,
    },
    /// No item starts with this byte.
    #[error("byte {at} is {tag:#04x}, with which no item starts")]
    UnknownTag {
        /// The byte.
        tag: u8,
        /// Where it is.
        at: usize,
    },
    /// A list or a map ends where none does.
    #[error("byte {at} ends a list or a map out of place")]
    MisplacedEnd {
        /// Where.
        at: usize,
    },
    /// An integer of more than 128 bits.
    #[error("the integer at byte {at} has more than 128 bits")]
    IntegerTooLong {
        /// Where it starts.
        at: usize,
    },
    /// Text that is no UTF-8.
    #[error("the text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where it starts.
        at: usize,
    },
}

/// Reads items.
///
/// ```
/// use rm_process::value::wire::{Item, Reader, Writer};
///
/// let mut bytes = Vec::new();
/// Writer::new(&mut bytes).item(Item::Str("hello"))?;
/// let mut reader = Reader::new(&bytes);
/// assert_eq!(reader.next_item()?, Item::Str("hello"));
/// assert!(reader.is_at_end());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `body`.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// The next item.
    ///
    /// # Errors
    /// There is none, or it is cut off or unknown.
    #[inline]
    pub fn next_item(&mut self) -> Result<Item<'a>, Malformed> {
        let at = self.at;
        let tag = *self.body.get(at).ok_or(Malformed::Truncated)?;
        self.at += 1;
        Ok(match tag {
            NULL => Item::Null,
            FALSE => Item::Bool(false),
            TRUE => Item::Bool(true),
            UNSIGNED => Item::Unsigned(self.varint()?),
            SIGNED => {
                let zigzag = self.varint()?;
                Item::Signed((zigzag >> 1) as i128 ^ -((zigzag & 1) as i128))
            }
            F32 => Item::F32(f32::from_le_bytes(self.array()?)),
            F64 => Item::F64(f64::from_le_bytes(self.array()?)),
            BYTES => Item::Bytes(self.bytes()?),
            STR => {
                let text = str::from_utf8(self.bytes()?);
                Item::Str(text.map_err(|_| Malformed::NotUtf8 { at })?)
            }
            LIST_START => Item::ListStart,
            LIST_END => Item::ListEnd,
            MAP_START => Item::MapStart,
            MAP_END => Item::MapEnd,
            tag => return Err(Malformed::UnknownTag { tag, at }),
        })
    }

    /// Takes the end of a list, if it is next.
    #[inline]
    pub fn take_list_end(&mut self) -> bool {
        self.take(LIST_END)
    }

    /// Takes the end of a map, if it is next.
    #[inline]
    pub fn take_map_end(&mut self) -> bool {
        self.take(MAP_END)
    }

    /// Whether the next item is the end of a list or a map.
    pub fn is_before_end(&self) -> bool {
        matches!(self.body.get(self.at), Some(&(LIST_END | MAP_END)))
    }

    /// Whether the next item is `None`.
    pub fn is_before_null(&self) -> bool {
        self.body.get(self.at) == Some(&NULL)
    }

    /// Whether everything has been read.
    pub const fn is_at_end(&self) -> bool {
        self.at == self.body.len()
    }

    /// Bytes that have not been read.
    pub const fn remaining(&self) -> usize {
        self.body.len() - self.at
    }

    /// Where the next item starts.
    pub const fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, tag: u8) -> bool {
        let is_next = self.body.get(self.at) == Some(&tag);
        self.at += usize::from(is_next);
        is_next
    }

    #[inline]
    fn varint(&mut self) -> Result<u128, Malformed> {
        let start = self.at;
        // Most integers and lengths are small.
        let mut small = 0_u64;
        for index in 0..9 {
            let byte = *self.body.get(start + index).ok_or(Malformed::Truncated)?;
            small |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.at = start + index + 1;
                return Ok(small.into());
            }
        }
        let mut value = u128::from(small);
        for index in 9..LONGEST {
            let byte = *self.body.get(start + index).ok_or(Malformed::Truncated)?;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits {
                break;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                self.at = start + index + 1;
                return Ok(value);
            }
        }
        Err(Malformed::IntegerTooLong { at: start - 1 })
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
        let bytes = self.body[self.at..].get(..len).ok_or(Malformed::Truncated)?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.body[self.at..].first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.at += N;
        Ok(*bytes)
    }
}

/// Writes items.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// A writer to `out`, which should be buffered: items are small.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// One item.
    ///
    /// # Errors
    /// Those of `out`.
    #[inline]
    pub fn item(&mut self, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Null => self.out.write_all(&[NULL]),
            Item::Bool(false) => self.out.write_all(&[FALSE]),
            Item::Bool(true) => self.out.write_all(&[TRUE]),
            Item::Unsigned(number) => self.varint(UNSIGNED, number),
            Item::Signed(number) => self.varint(SIGNED, ((number << 1) ^ (number >> 127)) as u128),
            Item::F32(number) => {
                self.out.write_all(&[F32])?;
                self.out.write_all(&number.to_le_bytes())
            }
            Item::F64(number) => {
                self.out.write_all(&[F64])?;
                self.out.write_all(&number.to_le_bytes())
            }
            Item::Bytes(bytes) => {
                self.varint(BYTES, bytes.len() as u128)?;
                self.out.write_all(bytes)
            }
            Item::Str(text) => {
                self.varint(STR, text.len() as u128)?;
                self.out.write_all(text.as_bytes())
            }
            Item::ListStart => self.out.write_all(&[LIST_START]),
            Item::ListEnd => self.out.write_all(&[LIST_END]),
            Item::MapStart => self.out.write_all(&[MAP_START]),
            Item::MapEnd => self.out.write_all(&[MAP_END]),
        }
    }

    #[inline]
    fn varint(&mut self, tag: u8, number: u128) -> io::Result<()> {
        let low = (number & 0x7f) as u8;
        if number < 0x80 {
            return self.out.write_all(&[tag, low]);
        }
        let mut bytes = [tag; 1 + LONGEST];
        let mut rest = number;
        let mut len = 1;
        while rest > u64::MAX.into() {
            bytes[len] = rest as u8 | 0x80;
            rest >>= 7;
            len += 1;
        }
        // Most integers come here at once, where a step is one instruction instead of three.
        let mut rest = rest as u64;
        while rest >= 0x80 {
            bytes[len] = rest as u8 | 0x80;
            rest >>= 7;
            len += 1;
        }
        bytes[len] = rest as u8;
        self.out.write_all(&bytes[..=len])
    }
}
