//! WebSocket close codes, in ranges that tell a client whether to reconnect.

/// The server drains: reconnect with backoff.
pub const SHUTTING_DOWN: u16 = 4000;
/// Nothing was heard for too long: reconnect.
pub const IDLE: u16 = 4001;
/// What the key may do has changed: reconnect, and ask again.
pub const KEY_CHANGED: u16 = 4002;
/// The client broke the protocol: do not reconnect, it would happen again.
pub const PROTOCOL_VIOLATION: u16 = 4500;
/// The key was revoked: it opens nothing any more.
pub const KEY_REVOKED: u16 = 4501;
/// The key or token has expired: get a new one first.
pub const KEY_EXPIRED: u16 = 4502;

/// Whether a client that was closed with this code should come back by itself.
pub const fn may_reconnect(code: u16) -> bool {
    !matches!(code, 1002 | 1003 | 1007 | 1009 | 4500..=4999)
}
