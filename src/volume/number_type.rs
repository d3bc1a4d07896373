//! How numbers are stored in files.

use std::fmt;

/// Integers up to this one are exact in f32; beyond it, segment ids would fall together.
pub(crate) const EXACT: f64 = 16_777_216.0;

/// The integer as a float.
///
/// # Errors
/// Where it is too large to be exact.
pub(crate) fn exact(value: i128) -> Result<f32, String> {
    if value.unsigned_abs() <= EXACT as u128 {
        Ok(value as f32)
    } else {
        Err(format!("the value {value} is too large, expected at most {EXACT}"))
    }
}

/// The type of the numbers of a volume on disk. In memory they are f32.
///
/// ```
/// use znn::data::NumberType;
///
/// assert_eq!((NumberType::U16.name(), NumberType::U16.bytes()), ("uint16", 2));
/// assert_eq!(NumberType::ALL.len(), 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Floating point, 32 bits.
    F32,
    /// Floating point, 64 bits.
    F64,
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant one.
    Little,
    /// The most significant one.
    Big,
}

impl NumberType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
    ];

    /// `uint8`, `float32`, ...: the words of NumPy, Zarr v3 and N5.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// The type of that [`name`](Self::name).
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|number| number.name() == name)
    }

    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The type and byte order of a NumPy description such as `<f4`; truth values (`|b1`) are bytes.
    pub(crate) fn from_numpy(text: &str) -> Option<(Self, ByteOrder)> {
        let order = match text.as_bytes().first()? {
            b'<' | b'|' | b'=' => ByteOrder::Little,
            b'>' => ByteOrder::Big,
            _ => return None,
        };
        let number = match text.get(1..)? {
            "u1" | "b1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "f4" => Self::F32,
            "f8" => Self::F64,
            _ => return None,
        };
        Some((number, order))
    }

    /// As NumPy describes the type, little-endian: `<f4`.
    pub(crate) const fn to_numpy(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::U16 => "<u2",
            Self::U32 => "<u4",
            Self::U64 => "<u8",
            Self::I8 => "|i1",
            Self::I16 => "<i2",
            Self::I32 => "<i4",
            Self::I64 => "<i8",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    /// Appends the numbers in `bytes` to `values`; a rest shorter than a number is left out.
    ///
    /// # Errors
    /// Where an integer is too large to be exact in f32: what was found and what was expected.
    pub(crate) fn decode(self, bytes: &[u8], order: ByteOrder, values: &mut Vec<f32>) -> Result<(), String> {
        macro_rules! numbers {
            ($type:ty, $convert:expr) => {{
                let convert: fn($type) -> Result<f32, String> = $convert;
                let (words, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                values.reserve(words.len());
                for &word in words {
                    let number = match order {
                        ByteOrder::Little => <$type>::from_le_bytes(word),
                        ByteOrder::Big => <$type>::from_be_bytes(word),
                    };
                    values.push(convert(number)?);
                }
                Ok(())
            }};
        }
        match self {
            Self::U8 => numbers!(u8, |v| Ok(f32::from(v))),
            Self::U16 => numbers!(u16, |v| Ok(f32::from(v))),
            Self::U32 => numbers!(u32, |v| exact(i128::from(v))),
            Self::U64 => numbers!(u64, |v| exact(i128::from(v))),
            Self::I8 => numbers!(i8, |v| Ok(f32::from(v))),
            Self::I16 => numbers!(i16, |v| Ok(f32::from(v))),
            Self::I32 => numbers!(i32, |v| exact(i128::from(v))),
            Self::I64 => numbers!(i64, |v| exact(i128::from(v))),
            Self::F32 => numbers!(f32, Ok),
            Self::F64 => numbers!(f64, |v| Ok(v as f32)),
        }
    }

    /// The bytes of `values`, little-endian. Integers are rounded and limited to the range of the type, NaN becomes 0.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        macro_rules! bytes {
            ($convert:expr) => {{
                let mut bytes = Vec::with_capacity(values.len() * self.bytes());
                for &value in values {
                    bytes.extend_from_slice(&$convert(value).to_le_bytes());
                }
                bytes
            }};
        }
        match self {
            Self::U8 => bytes!(|v: f32| v.round() as u8),
            Self::U16 => bytes!(|v: f32| v.round() as u16),
            Self::U32 => bytes!(|v: f32| v.round() as u32),
            Self::U64 => bytes!(|v: f32| v.round() as u64),
            Self::I8 => bytes!(|v: f32| v.round() as i8),
            Self::I16 => bytes!(|v: f32| v.round() as i16),
            Self::I32 => bytes!(|v: f32| v.round() as i32),
            Self::I64 => bytes!(|v: f32| v.round() as i64),
            Self::F32 => bytes!(|v: f32| v),
            Self::F64 => bytes!(|v: f32| f64::from(v)),
        }
    }
}

impl fmt::Display for NumberType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_in_both_orders() {
        for number in NumberType::ALL {
            let values = [0.0, 1.0, 100.0, 7.0];
            let mut bytes = number.encode(&values);
            assert_eq!(bytes.len(), 4 * number.bytes());
            let mut found = Vec::new();
            number.decode(&bytes, ByteOrder::Little, &mut found).unwrap();
            bytes.chunks_mut(number.bytes()).for_each(<[u8]>::reverse);
            number.decode(&bytes, ByteOrder::Big, &mut found).unwrap();
            assert_eq!(found, [values, values].concat(), "{number}");
            assert_eq!(NumberType::from_name(number.name()), Some(number));
            assert_eq!(NumberType::from_numpy(number.to_numpy()), Some((number, ByteOrder::Little)));
        }
        assert_eq!(NumberType::from_numpy(">i2"), Some((NumberType::I16, ByteOrder::Big)));
        for bad in ["", "f4", "<f2", "<U8", "<\u{e9}"] {
            assert_eq!(NumberType::from_numpy(bad), None);
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_limited_or_refused() {
        assert_eq!(NumberType::U8.encode(&[-3.0, 260.0, 2.5, f32::NAN]), [0, 255, 3, 0]);
        let mut values = Vec::new();
        let error = NumberType::U64.decode(&(1u64 << 25).to_le_bytes(), ByteOrder::Little, &mut values);
        assert_eq!(error.unwrap_err(), "the value 33554432 is too large, expected at most 16777216");
        NumberType::F64.decode(&1e9f64.to_le_bytes(), ByteOrder::Little, &mut values).unwrap();
        assert_eq!(values, [1e9]);
    }
}
