//! What a caller may do, in a few words that a key, a token and an error share.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Scope {
    /// Submit tasks, over any face.
    TasksWrite = 1,
    /// Look at tasks, batches and dead letters, and follow their logs.
    TasksRead = 1 << 1,
    /// Stop tasks, and try dead letters again. Whoever may submit has it too.
    TasksStop = 1 << 2,
    /// Upload, list, read and delete files.
    Files = 1 << 3,
    /// Make, write, read and delete streams.
    Streams = 1 << 4,
    /// Name the user that a request is for.
    Users = 1 << 5,
    /// See what operators see: metrics, keys without their secrets, usage, the audit log.
    AdminRead = 1 << 6,
    /// Do what operators do: make backups, reload the configuration.
    AdminOperate = 1 << 7,
    /// Make, change and revoke keys and tenants.
    AdminWrite = 1 << 8,
}

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 9] = [
        Self::TasksWrite,
        Self::TasksRead,
        Self::TasksStop,
        Self::Files,
        Self::Streams,
        Self::Users,
        Self::AdminRead,
        Self::AdminOperate,
        Self::AdminWrite,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TasksWrite => "tasks:write",
            Self::TasksRead => "tasks:read",
            Self::TasksStop => "tasks:stop",
            Self::Files => "files",
            Self::Streams => "streams",
            Self::Users => "users",
            Self::AdminRead => "admin:read",
            Self::AdminOperate => "admin:operate",
            Self::AdminWrite => "admin:write",
        }
    }

    /// The scope that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == text)
    }

    /// The role that has it, where it is an operator's.
    pub(crate) const fn role(self) -> Option<Role> {
        match self {
            Self::AdminRead => Some(Role::ReadOnly),
            Self::AdminOperate => Some(Role::Operator),
            Self::AdminWrite => Some(Role::Admin),
            _ => None,
        }
    }
}

/// Some scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);
    /// What an application needs: all but to act for users, and but what operators do.
    pub const APPLICATION: Self = Self::of(&[Scope::TasksWrite, Scope::TasksRead, Scope::Files, Scope::Streams]);
    /// All there are.
    pub const ALL: Self = Self::of(&Scope::ALL);

    /// Exactly these, and what they imply.
    pub const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut next = 0;
        while next < scopes.len() {
            bits |= scopes[next] as u16;
            next += 1;
        }
        if bits & Scope::TasksWrite as u16 != 0 {
            bits |= Scope::TasksStop as u16;
        }
        Self(bits)
    }

    /// Whether this one is among them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope as u16 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Their names.
    pub fn names(self) -> Vec<String> {
        Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(|scope| scope.name().to_owned()).collect()
    }

    /// From names; the first that is none is the error.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let scopes: Result<Vec<Scope>, String> =
            names.into_iter().map(|name| Scope::parse(name).ok_or_else(|| name.to_owned())).collect();
        scopes.map(|scopes| Self::of(&scopes))
    }
}

/// What an operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees.
    ReadOnly,
    /// Also stops, tries again, backs up, reloads.
    Operator,
    /// Also manages keys and tenants, and may do all that an application may.
    Admin,
}

impl Role {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::ReadOnly, Self::Operator, Self::Admin].into_iter().find(|role| role.name() == text)
    }

    /// What it may do.
    pub const fn scopes(self) -> Scopes {
        match self {
            Self::ReadOnly => Scopes::of(&[Scope::TasksRead, Scope::AdminRead]),
            Self::Operator => Scopes::of(&[Scope::TasksRead, Scope::TasksStop, Scope::AdminRead, Scope::AdminOperate]),
            Self::Admin => Scopes::ALL,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_one_below_it_may() {
        let [read_only, operator, admin] = [Role::ReadOnly, Role::Operator, Role::Admin].map(Role::scopes);
        assert_eq!(read_only.within(operator), read_only);
        assert_eq!(operator.within(admin), operator);
        assert!(
            !read_only.has(Scope::TasksStop) && !operator.has(Scope::AdminWrite) && !operator.has(Scope::TasksWrite)
        );
        assert!(!Scopes::APPLICATION.has(Scope::AdminRead) && !Scopes::APPLICATION.has(Scope::Users));
    }

    #[test]
    fn scopes_survive_their_names() {
        let names = Scopes::ALL.names();
        assert_eq!(Scopes::parse(names.iter().map(String::as_str)), Ok(Scopes::ALL));
        assert_eq!(Scopes::parse(["tasks:read", "tasks:wright"]), Err("tasks:wright".to_owned()));
    }
}
