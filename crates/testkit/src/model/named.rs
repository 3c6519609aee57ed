//! Named records, as the port `Directory` describes them.

use super::Expecting;
use std::collections::BTreeMap;

/// Versions are told apart by the order in which they were given: the first one is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Named {
    records: BTreeMap<u8, (u8, usize)>,
    given: usize,
}

impl Named {
    /// Each record's name, value and version, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, u8, usize)> {
        self.records.iter().map(|(name, (value, version))| (*name, *value, *version))
    }

    /// How many versions were given.
    pub(super) fn given(&self) -> usize {
        self.given
    }

    /// The version that is there, where it is not what was expected.
    fn expect(&self, name: u8, expect: Expecting) -> Result<(), Option<usize>> {
        let found = self.records.get(&name).map(|(_, version)| *version);
        let holds = match expect {
            Expecting::Anything => true,
            Expecting::Absent => found.is_none(),
            Expecting::Given(version) => found == Some(version),
        };
        if holds { Ok(()) } else { Err(found) }
    }

    pub(super) fn put(&mut self, name: u8, value: u8, expect: Expecting) -> Result<usize, Option<usize>> {
        self.expect(name, expect)?;
        self.records.insert(name, (value, self.given));
        self.given += 1;
        Ok(self.given - 1)
    }

    pub(super) fn forget(&mut self, name: u8, expect: Expecting) -> Result<bool, Option<usize>> {
        self.expect(name, expect)?;
        Ok(self.records.remove(&name).is_some())
    }
}
