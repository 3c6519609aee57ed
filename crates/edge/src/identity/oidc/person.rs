//! Who a person is here: a tenant and a role, by what the provider says of them.

use super::super::caller::{Caller, MAX_USER_BYTES};
use super::super::scope::Role;
use super::super::table::{Foreign, Table};
use crate::refusal::Refusal;
use serde_json::Value;
use std::collections::BTreeMap;
use tidewire_proto::Code;

/// What decides it.
#[derive(PartialEq)]
pub(super) struct Terms {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) tenant: String,
    pub(super) tenant_claim: Option<String>,
    pub(super) name_claim: String,
    pub(super) role_claim: String,
    pub(super) roles: BTreeMap<String, Role>,
}

fn forbidden(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::Forbidden, message)
}

/// A claim by its name; or by names with dots between, each within the one before. Names that are URLs have dots too, so
/// the whole is tried first.
fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |within, name| within.get(name)))
}

impl Terms {
    /// The person as a caller. Whoever has no role here is nobody.
    pub(super) fn admit(&self, claims: &Value, table: &Table) -> Result<Caller, Refusal> {
        let text = |name: &str| claim(claims, name).and_then(Value::as_str);
        let fits = |name: &&str| (1..=MAX_USER_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        let person = text("sub").filter(fits).ok_or_else(|| forbidden("the provider does not say who you are"))?;
        let role = self.role(claims).ok_or_else(|| {
            forbidden(format!(
                "the provider knows you, but none of what it lists for you in `{}` has a role here; ask whoever runs this \
                 server (`oidc.roles`)",
                self.role_claim
            ))
        })?;
        let tenant = match &self.tenant_claim {
            Some(name) => text(name).ok_or_else(|| forbidden("the provider names no tenant for you"))?,
            None => &self.tenant,
        };
        let tenant = table.tenant_named(tenant).ok_or_else(|| forbidden("there is no such tenant as yours here"))?;
        // People can change what they are called, so the audit log also says who they are.
        let name = match text(&self.name_claim).filter(fits) {
            Some(name) if name != person => format!("{name} (oidc:{person})"),
            _ => format!("oidc:{person}"),
        };
        let foreign = Foreign {
            name: name.into(),
            user: Some(person.into()),
            scopes: role.scopes(),
            role: Some(role),
            routes: None,
            // The ID token's expiry says until when the provider vouches for the sign-in, not for the session.
            expires: None,
        };
        Ok(table.foreign(tenant, foreign))
    }

    /// The highest role of those that a person has.
    fn role(&self, claims: &Value) -> Option<Role> {
        let of = |group: &Value| self.roles.get(group.as_str()?).copied();
        match claim(claims, &self.role_claim)? {
            Value::Array(groups) => groups.iter().filter_map(of).max(),
            group => of(group),
        }
    }
}

impl Caller {
    /// Whether a provider vouches for it: an operator without a key.
    pub(in crate::identity) fn is_by_oidc(&self) -> bool {
        self.role.is_some() && self.payer.key.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_highest_role_counts_and_what_is_not_mapped_gives_none() {
        let roles = [("eyes", Role::ReadOnly), ("admins", Role::Admin)].map(|(group, role)| (group.to_owned(), role));
        let terms = |role_claim: &str| Terms {
            issuer: String::new(),
            client_id: String::new(),
            tenant: String::new(),
            tenant_claim: None,
            name_claim: String::new(),
            role_claim: role_claim.to_owned(),
            roles: roles.clone().into(),
        };
        let role = |claims: Value| terms("groups").role(&claims);
        assert_eq!(role(json!({ "groups": ["eyes", "admins", "others"] })), Some(Role::Admin));
        assert_eq!(role(json!({ "groups": "eyes" })), Some(Role::ReadOnly));
        for nobody in [json!({}), json!({ "groups": [] }), json!({ "groups": ["admin", "Admins", ""] })] {
            assert_eq!(role(nobody.clone()), None, "{nobody}");
        }
        for nobody in [json!({ "groups": { "admins": true } }), json!({ "groups": [["admins"]] }), json!([])] {
            assert_eq!(role(nobody.clone()), None, "{nobody}");
        }
        let nested = json!({ "realm_access": { "roles": ["eyes"] }, "https://a.example/roles": ["admins"] });
        assert_eq!(terms("realm_access.roles").role(&nested), Some(Role::ReadOnly));
        assert_eq!(terms("https://a.example/roles").role(&nested), Some(Role::Admin));
    }
}
