//! What a connection's frames ask for, done beside its reading and writing.

use crate::Edge;
use crate::follow::{Follower, Resume};
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use crate::transport::events::window;
use std::borrow::Cow;
use tidewire_core::{LogId, LogRef, OnDisconnect, TaskRef};
use tidewire_proto::{ClientFrame, Code, ServerFrame, Submission};

/// A frame's answer, and what it changes at the connection.
pub(super) struct Answer {
    pub(super) frame: ServerFrame<'static>,
    pub(super) follow: Option<Follower>,
    pub(super) unfollow: Option<LogRef>,
    /// A task that stops when the connection ends.
    pub(super) stop_with: Option<TaskRef>,
}

impl Answer {
    fn plain(frame: ServerFrame<'static>) -> Self {
        Self { frame, follow: None, unfollow: None, stop_with: None }
    }

    pub(super) fn refused(reference: Option<String>, refusal: Refusal) -> Self {
        Self::plain(ServerFrame::Error { reference: reference.map(Cow::Owned), error: refusal.0 })
    }
}

/// Does what a frame asks for.
pub(super) async fn answer(edge: &Edge, caller: &Caller, frame: ClientFrame) -> Answer {
    let (reference, answered) = match frame {
        ClientFrame::Submit { reference, task, follow, window_ms } => {
            let follow = follow.unwrap_or(true);
            (reference.clone(), submit(edge, caller, reference, *task, follow, window_ms).await)
        }
        ClientFrame::Follow { reference, log, after, epoch, window_ms } => {
            let resume = Resume { after, epoch };
            (reference.clone(), follow(edge, caller, reference, &log, resume, window_ms).await)
        }
        ClientFrame::Unfollow { reference, log } => (reference.clone(), unfollow(caller, reference, log)),
        ClientFrame::Stop { reference, task } => (reference.clone(), stop(edge, caller, reference, task).await),
        ClientFrame::Ping { reference } => {
            return Answer::plain(ServerFrame::Pong { reference: reference.map(Cow::Owned) });
        }
    };
    answered.unwrap_or_else(|refusal| Answer::refused(reference, refusal))
}

async fn submit(
    edge: &Edge,
    caller: &Caller,
    reference: Option<String>,
    submission: Submission,
    follow: bool,
    window_ms: Option<u64>,
) -> Result<Answer, Refusal> {
    caller.require(Scope::TasksWrite)?;
    let window = window(window_ms)?;
    let accepted = crate::submit::submit(edge, caller, submission).await?;
    let at = accepted.at();
    let follower = if follow {
        // The ack stands, whatever becomes of the cursor: the client can follow again.
        Follower::open(edge, at.log(), Resume::default(), window).await.ok()
    } else {
        None
    };
    let stops = accepted.task.spec.on_disconnect == OnDisconnect::Stop && !accepted.known;
    Ok(Answer {
        frame: ServerFrame::Ack { reference: reference.map(Cow::Owned), ack: accepted.ack() },
        follow: follower,
        unfollow: None,
        stop_with: stops.then_some(at),
    })
}

fn parse_log(caller: &Caller, log: &str) -> Result<LogRef, Refusal> {
    let log: LogId = log.parse().map_err(|_| {
        Refusal::new(Code::UnknownLog, format!("there is no log `{log}`: it never was, or it has expired"))
    })?;
    Ok(LogRef { tenant: caller.tenant, log })
}

async fn follow(
    edge: &Edge,
    caller: &Caller,
    reference: Option<String>,
    log: &str,
    resume: Resume,
    window_ms: Option<u64>,
) -> Result<Answer, Refusal> {
    caller.require(Scope::TasksRead)?;
    let follower = Follower::open(edge, parse_log(caller, log)?, resume, window(window_ms)?).await?;
    let frame = ServerFrame::Following {
        reference: reference.map(Cow::Owned),
        log: log.to_owned(),
        epoch: follower.cursor.epoch.0,
        tail: follower.tail.0,
    };
    Ok(Answer { frame, follow: Some(follower), unfollow: None, stop_with: None })
}

fn unfollow(caller: &Caller, reference: Option<String>, log: String) -> Result<Answer, Refusal> {
    let at = parse_log(caller, &log)?;
    let frame = ServerFrame::Unfollowed { reference: reference.map(Cow::Owned), log, reason: "asked".to_owned() };
    Ok(Answer { frame, follow: None, unfollow: Some(at), stop_with: None })
}

async fn stop(edge: &Edge, caller: &Caller, reference: Option<String>, task: String) -> Result<Answer, Refusal> {
    caller.require(Scope::TasksStop)?;
    let at = super::super::tasks::parse_id(caller, &task)?;
    let stopped = crate::stop::stop(edge, at).await?;
    Ok(Answer::plain(ServerFrame::Stopped {
        reference: reference.map(Cow::Owned),
        task,
        state: stopped.state.name().to_owned(),
    }))
}
