//! Bytes with their length before them.

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// Adds a field.
pub(super) fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, lowest first; the high bit says that more follow.
pub(super) fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Reads fields from the front.
pub(super) struct Fields<'p> {
    left: &'p [u8],
    /// Lengths are four bytes, highest first.
    wide: bool,
}

impl<'p> Fields<'p> {
    pub(super) fn new(bytes: &'p [u8], wide: bool) -> Self {
        Self { left: bytes, wide }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// How many bytes are not read yet.
    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    fn take(&mut self, count: usize) -> Result<&'p [u8], Broken> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Broken("it is cut short"))?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Broken("it is cut short"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn length(&mut self) -> Result<usize, Broken> {
        if self.wide {
            return Ok(u32::from_be_bytes(self.array()?) as usize);
        }
        let mut length = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(Broken("a length has no end"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'p [u8], Broken> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'p str, Broken> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Broken("it is not UTF-8"))
    }
}
