//! WebSocket close codes, in ranges that tell a client whether to reconnect.

/// The server drains: reconnect with backoff.
pub const SHUTTING_DOWN: u16 = 4000;
/// Nothing was heard for too long: reconnect.
pub const IDLE: u16 = 4001;
/// The client broke the protocol: do not reconnect, it would happen again.
pub const PROTOCOL_VIOLATION: u16 = 4500;

/// Whether a client that was closed with this code should come back by itself.
pub const fn may_reconnect(code: u16) -> bool {
    !matches!(code, 1002 | 1003 | 1007 | 1009 | 4500..=4999)
}
