//! Where operators sign in who have no key.

use super::{Refused, secret_in};
use crate::config::{self, Config, OidcConfig};
use crate::fetch::HttpFetch;
use std::sync::Arc;
use std::time::Duration;
use tidewire_edge::identity::{Algorithm, CALLBACK, Oidc, Role, is_trusted_url};

/// The provider, where one is set.
pub(super) fn provider(config: &Config) -> Result<Option<Oidc>, Refused> {
    let oidc = &config.oidc;
    if oidc.issuer.is_empty() {
        return Ok(None);
    }
    check(oidc)?;
    let Some(algorithm @ (Algorithm::Rs256 | Algorithm::Es256)) = Algorithm::parse(&oidc.algorithm) else {
        return Err(format!("`oidc.algorithm` is RS256 or ES256, not `{}`", oidc.algorithm).into());
    };
    let role = |(group, name): (&String, &String)| {
        let role = Role::parse(name).ok_or_else(|| {
            format!("`oidc.roles`: `{group}` has the role `{name}`; there are read-only, operator and admin")
        })?;
        Ok::<_, Refused>((group.clone(), role))
    };
    Ok(Some(Oidc {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: secret(oidc)?,
        redirect_url: oidc.redirect_url.clone(),
        scopes: oidc.scopes.clone(),
        algorithm,
        leeway: Duration::from_secs(oidc.leeway_s),
        tenant: oidc.tenant.clone(),
        tenant_claim: Some(oidc.tenant_claim.clone()).filter(|claim| !claim.is_empty()),
        name_claim: oidc.name_claim.clone(),
        role_claim: oidc.role_claim.clone(),
        roles: oidc.roles.iter().map(role).collect::<Result<_, _>>()?,
        fetch: Arc::new(HttpFetch::new(&config.outgoing, &oidc.issuer)?),
    }))
}

fn check(oidc: &OidcConfig) -> Result<(), Refused> {
    if oidc.client_id.is_empty() {
        return Err("`oidc.client_id` must be set: the name that the provider has given this server".into());
    }
    if !is_trusted_url(&oidc.issuer) {
        return Err(format!("`oidc.issuer` is an https URL, not `{}`", oidc.issuer).into());
    }
    if !is_trusted_url(&oidc.redirect_url) || !oidc.redirect_url.ends_with(CALLBACK) {
        return Err(format!(
            "`oidc.redirect_url` is an https URL that ends in {CALLBACK}, as browsers reach this server; not `{}`",
            oidc.redirect_url
        )
        .into());
    }
    if !oidc.scopes.iter().any(|scope| scope == "openid") {
        return Err("`oidc.scopes` must hold \"openid\": without it the provider tells nobody who anybody is".into());
    }
    if oidc.roles.is_empty() {
        return Err("`oidc.roles` is empty, so nobody could sign in: name a group and its role".into());
    }
    Ok(())
}

/// This server's secret at the provider, from its variable or its file.
fn secret(oidc: &OidcConfig) -> Result<Option<String>, Refused> {
    let secret = match (&oidc.client_secret_env, &oidc.client_secret_file) {
        (Some(_), Some(_)) => {
            return Err("[oidc] has two secrets: leave out `client_secret_env` or `client_secret_file`".into());
        }
        (Some(name), None) => config::variable(name)
            .ok_or_else(|| format!("[oidc] wants its secret in the variable {name}, which is not set"))?,
        (None, Some(file)) => secret_in(file)?,
        (None, None) => return Ok(None),
    };
    let secret = secret.trim();
    if secret.is_empty() {
        return Err("[oidc] has an empty secret; leave both out for a public client".into());
    }
    Ok(Some(secret.to_owned()))
}
