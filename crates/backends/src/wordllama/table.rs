//! A vector for each token, and what a text's vectors add up to.

use serde::Deserialize;
use std::collections::HashMap;

/// What `WordLlama`'s files call the one tensor that they have.
const TENSOR: &str = "embedding.weight";

/// All exponent bits of a 16-bit float: it is infinite or no number.
const NOT_FINITE: u16 = 0x7c00;

/// A row of 16-bit floats for each token. They stay as they are in the file, half as large as what they are added up in.
pub(super) struct Table {
    numbers: Vec<u16>,
    columns: usize,
}

/// What a header says of a tensor.
#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: [usize; 2],
    data_offsets: [usize; 2],
}

/// A file's header and data.
fn parts(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

impl Table {
    /// Out of a `.safetensors` file's bytes: the header's length, the header, numbers
    /// (<https://huggingface.co/docs/safetensors>, "Format").
    pub(super) fn read(file: &[u8]) -> Result<Self, String> {
        let (header, data) = parts(file).ok_or("it is no safetensors file")?;
        let mut header: HashMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|error| format!("it is no safetensors file: {error}"))?;
        let tensor = header.remove(TENSOR).ok_or_else(|| format!("it has no `{TENSOR}`: it is no WordLlama table"))?;
        let tensor: Tensor = serde_json::from_value(tensor).map_err(|error| format!("`{TENSOR}`: {error}"))?;
        let columns = match tensor {
            Tensor { ref dtype, shape: [_, columns], .. } if dtype == "F16" && columns > 0 => columns,
            _ => return Err(format!("`{TENSOR}` is no table of 16-bit floats")),
        };
        let Tensor { shape: [rows, _], data_offsets: [start, end], .. } = tensor;
        let (pairs, _) = data.get(start..end).ok_or("it is cut off")?.as_chunks();
        if Some(pairs.len()) != rows.checked_mul(columns) {
            return Err(format!("`{TENSOR}` has not as many numbers as its shape says"));
        }
        let numbers: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        if numbers.iter().any(|bits| bits & NOT_FINITE == NOT_FINITE) {
            return Err(format!("`{TENSOR}` has numbers that are not finite"));
        }
        Ok(Self { numbers, columns })
    }

    /// How many tokens have a vector.
    pub(super) fn rows(&self) -> usize {
        self.numbers.len() / self.columns
    }

    /// How long vectors are.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The direction of the sum of these tokens' vectors, which is that of their mean, of length 1. The first numbers of a
    /// vector are trained to be a vector of their own (Matryoshka), so a shorter one is its beginning.
    pub(super) fn embed(&self, tokens: &[u32], dimensions: usize) -> Vec<f32> {
        let mut sum = vec![0.0; dimensions];
        for token in tokens {
            let start = *token as usize * self.columns;
            let row = self.numbers.get(start..start + dimensions).unwrap_or_default();
            for (sum, bits) in sum.iter_mut().zip(row) {
                *sum += float(*bits);
            }
        }
        let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
        if length > 0.0 {
            for number in &mut sum {
                *number /= length;
            }
        }
        sum
    }
}

/// A finite 16-bit float. Its exponent, read as that of a 32-bit float, is 127 - 15 too small: the product puts that right, also
/// where the number is subnormal.
fn float(bits: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let size = f32::from_bits(u32::from(bits & 0x7fff) << 13) * SCALE;
    f32::from_bits(size.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one tensor of these numbers.
    fn file(name: &str, kind: &str, shape: [usize; 2], numbers: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let header =
            format!(r#"{{"{name}":{{"dtype":"{kind}","shape":{shape:?},"data_offsets":[0,{}]}}}}"#, bytes.len());
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
    }

    #[test]
    fn sixteen_bit_floats_are_read_exactly() {
        // The largest, 1/3, the smallest normal and the smallest subnormal one, from IEEE 754's table of examples.
        for (bits, number) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x3555, 0.333_251_95),
            (0x0400, 6.103_515_6e-5),
            (0x8001, -5.960_464_5e-8),
        ] {
            assert!((float(bits) - number).abs() <= f32::EPSILON * number.abs(), "{bits:#06x} is {}", float(bits));
        }
    }

    #[test]
    fn vectors_add_up_to_one_of_length_one_and_a_shorter_one_is_its_beginning() {
        // (3, 0, 4), (0, 4, 0)
        let table = Table::read(&file(TENSOR, "F16", [2, 3], &[0x4200, 0, 0x4400, 0, 0x4400, 0])).unwrap();
        assert_eq!((table.rows(), table.columns()), (2, 3));
        assert_eq!(table.embed(&[0], 3), [0.6, 0.0, 0.8]);
        assert_eq!(table.embed(&[0, 1], 2), [0.6, 0.8]);
        assert_eq!(table.embed(&[1, 1, 1], 3), [0.0, 1.0, 0.0]);
        assert_eq!(table.embed(&[1], 1), [0.0], "no direction, and no division by nothing");
    }

    #[test]
    fn a_file_that_is_no_table_says_what_it_lacks() {
        let refusal = |file: &[u8]| Table::read(file).map(|_| ()).unwrap_err();
        assert!(refusal(b"GGUF").contains("safetensors"));
        assert!(refusal(&file("other", "F16", [1, 1], &[0])).contains(TENSOR));
        assert!(refusal(&file(TENSOR, "BF16", [1, 1], &[0])).contains("16-bit floats"));
        assert!(refusal(&file(TENSOR, "F16", [1, 0], &[])).contains("16-bit floats"));
        assert!(refusal(&file(TENSOR, "F16", [1, 2], &[0, 0x7c00])).contains("not finite"));
        let mut cut = file(TENSOR, "F16", [1, 2], &[0, 0]);
        cut.pop();
        assert!(refusal(&cut).contains("cut off"));
        assert!(refusal(&file(TENSOR, "F16", [2, 2], &[0, 0])).contains("its shape"));
        assert!(refusal(&[0xff; 20]).contains("safetensors"), "a header longer than the file");
    }
}
