//! Tensors: element types, and a borrowed look at an array.
//!
//! Main types: [`TensorType`] and [`TensorView`]. Arrays are C-contiguous; there are no other
//! strides, and nothing here calculates with them.

use crate::cast::Plain;
use crate::metadata::wire_enum;

wire_enum! {
    /// The element type of a tensor, under NumPy's names. Little-endian.
    ///
    /// These are all numeric types of NumPy that have a fixed size, its bool, and bfloat16 as
    /// the package ml_dtypes names it. NumPy's `longdouble` and `clongdouble` are absent: their
    /// size and format differ from platform to platform.
    TensorType {
        /// Boolean, one byte of 0 or 1.
        Bool = 1, "bool";
        /// 8-bit signed integer.
        I8 = 2, "int8";
        /// 16-bit signed integer.
        I16 = 3, "int16";
        /// 32-bit signed integer.
        I32 = 4, "int32";
        /// 64-bit signed integer.
        I64 = 5, "int64";
        /// 8-bit unsigned integer.
        U8 = 6, "uint8";
        /// 16-bit unsigned integer.
        U16 = 7, "uint16";
        /// 32-bit unsigned integer.
        U32 = 8, "uint32";
        /// 64-bit unsigned integer.
        U64 = 9, "uint64";
        /// IEEE 754 half precision.
        F16 = 10, "float16";
        /// The upper half of an IEEE 754 single.
        Bf16 = 11, "bfloat16";
        /// IEEE 754 single precision.
        F32 = 12, "float32";
        /// IEEE 754 double precision.
        F64 = 13, "float64";
        /// Two singles: real, imaginary.
        Complex64 = 14, "complex64";
        /// Two doubles: real, imaginary.
        Complex128 = 15, "complex128";
    }
}

impl TensorType {
    /// Bytes of one element.
    pub const fn bytes_per_element(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 | Self::Complex64 => 8,
            Self::Complex128 => 16,
        }
    }

    /// Bytes of an array of this type; `None` where they cannot be counted.
    ///
    /// As in NumPy, a dimension of 0 does not make up for others that are too large: the strides
    /// have to be numbers too.
    ///
    /// ```
    /// use rm_core::TensorType;
    ///
    /// assert_eq!(TensorType::F32.array_bytes(&[2, 3]), Some(24));
    /// assert_eq!(TensorType::F64.array_bytes(&[]), Some(8), "a scalar");
    /// assert_eq!(TensorType::U8.array_bytes(&[0, usize::MAX, 2]), None);
    /// ```
    pub fn array_bytes(self, shape: &[usize]) -> Option<usize> {
        let bytes = shape
            .iter()
            .try_fold(self.bytes_per_element(), |bytes, &dim| bytes.checked_mul(dim.max(1)))?;
        Some(if shape.contains(&0) { 0 } else { bytes })
    }
}

/// A Rust type that a tensor's elements can be seen as: `bool`, `i8` to `i64`, `u8` to `u64`,
/// `f32`, `f64`, and `[f32; 2]` and `[f64; 2]` for complex numbers.
///
/// float16 and bfloat16 have no such type; their bytes are [`TensorView::bytes`].
pub trait TensorElement: Plain {
    /// The same type in a tensor's metadata.
    const DTYPE: TensorType;
}

macro_rules! tensor_element {
    ($($name:ty => $dtype:ident),*) => {
        $(impl TensorElement for $name {
            const DTYPE: TensorType = TensorType::$dtype;
        })*
    };
}
tensor_element!(
    bool => Bool, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32,
    u64 => U64, f32 => F32, f64 => F64, [f32; 2] => Complex64, [f64; 2] => Complex128
);

/// A borrowed look at a tensor; given by [`RuntimeData::as_tensor`](crate::RuntimeData::as_tensor).
///
/// ```
/// use rm_core::RuntimeData;
///
/// let item = RuntimeData::tensor_of(vec![1_i64, 2, 3, 4, 5, 6], vec![2, 3])?;
/// let view = item.as_tensor().expect("is a tensor");
/// assert_eq!(view.shape, [2, 3]);
/// assert_eq!(view.as_slice::<i64>(), Some(&[1, 2, 3, 4, 5, 6][..]));
/// assert_eq!(view.as_slice::<f64>(), None);
/// assert_eq!((view.stride_bytes(0), view.stride_bytes(1)), (Some(24), Some(8)));
/// # Ok::<(), rm_core::DataError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TensorView<'a> {
    /// Size of each dimension; empty for a scalar.
    pub shape: &'a [usize],
    /// Type of the elements.
    pub dtype: TensorType,
    /// The elements in C order: the last index changes fastest.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.bytes_per_element()
    }

    /// Bytes from one index of the dimension `axis` to the next; `None` beyond the last dimension.
    /// A dimension of 0 counts as 1.
    pub fn stride_bytes(&self, axis: usize) -> Option<usize> {
        let inner = self.shape.get(axis + 1..)?;
        let elements: usize = inner.iter().map(|dim| (*dim).max(1)).product();
        Some(elements * self.dtype.bytes_per_element())
    }

    /// The elements where they lie; `None` if they are of another type, are not aligned, or a
    /// bool is neither 0 nor 1.
    pub fn as_slice<T: TensorElement>(&self) -> Option<&'a [T]> {
        if self.dtype == T::DTYPE { T::cast(self.bytes) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use crate::{DataError, RuntimeData, TensorElement, TensorType};

    fn check_reads_back<T: TensorElement + PartialEq + std::fmt::Debug>(values: Vec<T>) {
        assert_eq!(size_of::<T>(), T::DTYPE.bytes_per_element());
        let item = RuntimeData::tensor_of(values.clone(), vec![values.len()]).unwrap();
        let view = item.as_tensor().unwrap();
        assert_eq!((view.dtype, view.elements()), (T::DTYPE, values.len()));
        assert_eq!(view.as_slice::<T>(), Some(&values[..]));
    }

    #[test]
    fn every_element_type_is_viewed_as_what_it_was_made_from() {
        check_reads_back(vec![true, false]);
        check_reads_back(vec![i8::MIN, 1]);
        check_reads_back(vec![i16::MIN, 1]);
        check_reads_back(vec![i32::MIN, 1]);
        check_reads_back(vec![i64::MIN, 1]);
        check_reads_back(vec![u8::MAX, 1]);
        check_reads_back(vec![u16::MAX, 1]);
        check_reads_back(vec![u32::MAX, 1]);
        check_reads_back(vec![u64::MAX, 1]);
        check_reads_back(vec![f32::MAX, 1.0]);
        check_reads_back(vec![f64::MAX, 1.0]);
        check_reads_back(vec![[1.0_f32, -1.0]]);
        check_reads_back(vec![[1.0_f64, -1.0]]);
        check_reads_back::<f64>(vec![]);
    }

    #[test]
    fn a_byte_that_is_no_bool_is_not_shown_as_one() {
        let item = RuntimeData::tensor(vec![0, 1, 2], vec![3], TensorType::Bool).unwrap();
        assert_eq!(item.as_tensor().unwrap().as_slice::<bool>(), None);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert!(RuntimeData::tensor_of(vec![1_u8; 5], vec![2, 3]).is_err());
        assert!(RuntimeData::tensor_of(vec![1_u8], vec![1; 9]).is_err());
        let overflow = RuntimeData::tensor_of(Vec::<u8>::new(), vec![usize::MAX, 2, 0]);
        assert!(matches!(overflow, Err(DataError::Metadata(_))));
    }

    #[test]
    fn an_array_without_elements_has_strides_as_if_it_had_some() {
        let item = RuntimeData::tensor_of(Vec::<f32>::new(), vec![2, 0, 3]).unwrap();
        let view = item.as_tensor().unwrap();
        let strides: Vec<_> = (0..4).map_while(|axis| view.stride_bytes(axis)).collect();
        assert_eq!(strides, [12, 12, 4]);
    }
}
