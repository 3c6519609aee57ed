//! One connection through the proxy.

use super::counts::Counters;
use super::{End, Plan, Way};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// What is passed on in one piece.
const PIECE_BYTES: usize = 16 * 1024;

/// Why a direction is over.
enum Over {
    /// Its sender has said all, and that was passed on: the other direction goes on.
    Closed,
    /// A side is gone.
    Broken,
    /// Its fault has come.
    Fault(End),
}

/// Passes bytes on until both sides have closed, one is gone, or the plan says so.
pub(super) async fn relay(
    mut client: TcpStream,
    mut target: TcpStream,
    plan: Plan,
    counts: &Counters,
    end: &CancellationToken,
) {
    // Nagle's algorithm would add delays that the plan does not name. Where it can't be switched off the socket
    // is already dead, and the first read says so.
    let _ = client.set_nodelay(true).and(target.set_nodelay(true));
    let over = {
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = target.split();
        let up = pass(from_client, to_target, plan.up);
        let down = pass(from_target, to_client, plan.down);
        tokio::select! {
            () = end.cancelled() => return,
            over = both(up, down) => over,
        }
    };
    let Over::Fault(fault) = over else { return };
    counts.ended(fault);
    match fault {
        // Dropping both closes both.
        End::Cut => {}
        End::Reset => {
            // With no time to linger, a close is a reset. A socket that refuses is already gone.
            let _ = client.set_zero_linger().and(target.set_zero_linger());
        }
        End::HalfOpen => end.cancelled().await,
    }
}

/// Runs both directions: until both have closed, or one is over in another way.
async fn both(up: impl Future<Output = Over>, down: impl Future<Output = Over>) -> Over {
    tokio::pin!(up, down);
    let (mut up_open, mut down_open) = (true, true);
    while up_open || down_open {
        let over = tokio::select! {
            over = &mut up, if up_open => { up_open = false; over }
            over = &mut down, if down_open => { down_open = false; over }
        };
        if !matches!(over, Over::Closed) {
            return over;
        }
    }
    Over::Closed
}

async fn pass(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, way: Way) -> Over {
    match try_pass(from, to, way).await {
        Ok(over) => over,
        Err(_) => Over::Broken,
    }
}

async fn try_pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, way: Way) -> io::Result<Over> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = way.fault.map_or(u64::MAX, |fault| fault.after_bytes);
    loop {
        // At its last byte, and not with the first one past it: that one may never come.
        if let Some(fault) = way.fault.filter(|_| left == 0) {
            return Ok(Over::Fault(fault.end));
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let length = from.read(&mut piece[..room]).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(Over::Closed);
        }
        let wait = way.delay + way.bytes_per_second.map_or(Duration::ZERO, |rate| span(length, rate));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        to.write_all(&piece[..length]).await?;
        left = left.saturating_sub(length as u64);
    }
}

/// How long so many bytes take at this rate.
fn span(bytes: usize, per_second: u64) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / per_second.max(1))
}
