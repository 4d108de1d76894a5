//! Further streams of a tunnel: a server opens one and says what for; the owner's terms decide, and are named when they refuse
//! (INVARIANTS S16). One file per purpose.
//!
//! A stream ends when the server lets go of it, when the line does or when this executor closes; nothing of it is journalled,
//! because nobody settles it.

mod files;
mod folder;
mod forward;
mod repositories;
mod search;
mod server;
mod terminal;

use std::sync::Arc;

use perennial_schema::stream::{Answer, MAX_OPENING_BYTES, Opening, Purpose, STREAM_VERSION, Unopened};
use perennial_tunnel::{Lane, frames};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::limits::OPENING_TIME;
use crate::serve::House;

/// Why a stream is not opened.
#[derive(Debug)]
pub(crate) struct Refused {
    reason: Unopened,
    message: String,
}

impl Refused {
    pub(crate) fn new(reason: Unopened, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Answers one stream until it ends.
pub(crate) async fn serve(house: Arc<House>, mut lane: Lane) {
    let serving = async {
        match opening(&house, &mut lane).await {
            Ok(Some(purpose)) => answer(&house, purpose, lane).await,
            Ok(None) => {}
            Err(refused) => refuse(&mut lane, refused).await,
        }
    };
    house
        .stop
        .run_until_cancelled(house.closing.run_until_cancelled(serving))
        .await;
}

/// What it is for, if its owner allows that. None when nobody says.
async fn opening(house: &House, lane: &mut Lane) -> Result<Option<Purpose>, Refused> {
    let said = timeout(OPENING_TIME, frames::read_within::<Value>(lane, MAX_OPENING_BYTES)).await;
    let Ok(Ok(Some(said))) = said else { return Ok(None) };
    let purpose = match serde_json::from_value::<Opening>(said) {
        Ok(opening) if opening.version <= STREAM_VERSION => opening.purpose,
        _ => {
            let message = "this executor does not know such a stream: it is older than the server";
            return Err(Refused::new(Unopened::Unknown, message));
        }
    };
    let policy = &house.config.policy;
    policy
        .check(purpose.tool())
        .map_err(|why| Refused::new(Unopened::NotOffered, why))?;
    if let Some(owner) = &policy.ask {
        let allowed = tokio::select! {
            allowed = owner.opens(&purpose) => allowed,
            () = let_go(lane) => return Ok(None),
        };
        if !allowed {
            let message = "the owner of this machine refused this";
            return Err(Refused::new(Unopened::NotOffered, message));
        }
    }
    Ok(Some(purpose))
}

async fn answer(house: &Arc<House>, purpose: Purpose, mut lane: Lane) {
    let Ok(_place) = house.streams.try_acquire() else {
        let message = "too many streams of this executor are open";
        return refuse(&mut lane, Refused::new(Unopened::Busy, message)).await;
    };
    tracing::info!(stream.purpose = purpose.tool().name(), "a stream is opened");
    let done = match purpose {
        Purpose::ReadFile { path } => files::read(house, path, &mut lane).await,
        Purpose::ListFolder { path } => folder::list(house, path, &mut lane).await,
        Purpose::Search(what) => search::search(house, what, &mut lane).await,
        Purpose::ListRepositories { path } => repositories::list(house, path, &mut lane).await,
        Purpose::WriteFile { path, bytes } => files::write(house, path, bytes, &mut lane).await,
        Purpose::Forward { port } => forward::forward(port, &mut lane).await,
        Purpose::Terminal { name, size } => terminal::terminal(house, &name, size, &mut lane).await,
        // It outlives this, and has places of its own.
        Purpose::Server(start) => return server::server(house, *start, lane).await,
    };
    if let Err(refused) = done {
        refuse(&mut lane, refused).await;
    }
}

/// Says that it goes on.
pub(crate) async fn open(lane: &mut Lane, bytes: Option<u64>) -> std::io::Result<()> {
    frames::write(lane, &Answer::Open { bytes }).await
}

async fn refuse(lane: &mut Lane, Refused { reason, message }: Refused) {
    use tokio::io::AsyncWriteExt as _;
    // Who asked may be gone.
    let _ = frames::write(lane, &Answer::Refused { reason, message }).await;
    let _ = lane.shutdown().await;
}

/// Ends when the server lets go of a stream on which it has nothing more to say.
pub(crate) async fn let_go(reader: &mut (impl AsyncRead + Unpin)) {
    let mut nothing = [0; 1];
    let _ = reader.read(&mut nothing).await;
}
