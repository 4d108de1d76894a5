//! What the handlers share: the sessions that are open, and the editor's folders that are worked in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::ClientCapabilities;
use agent_client_protocol::{Client as Editor, Error as Refusal};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::hands::{Files, Hands, Offer};
use super::stdio::Pace;
use super::terminals::Terminals;
use super::watch::{Open, Opening, Order, Watched};
use super::{AcpArgs, Whose, sessions, told};
use crate::client::Client;
use crate::client::resources::Session;
use crate::error::Error;

/// Sessions open at a time; each is a stream from the server.
const SESSIONS: usize = 256;

/// The line to the editor.
pub(super) type Line = ConnectionTo<Editor>;

/// What the handlers share.
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) args: AcpArgs,
    pub(super) pace: Pace,
    pub(super) open: Arc<Mutex<Open>>,
    /// What the editor can do.
    pub(super) able: OnceLock<ClientCapabilities>,
    /// Its folders, and who works in them.
    pub(super) hands: Mutex<Vec<(PathBuf, Hands)>>,
}

impl Desk {
    /// Stops what an open session does.
    pub(super) async fn cancel(&self, session: &str) {
        let orders = self.open.lock().await.get(session).map(Watched::orders);
        if let Some(orders) = orders {
            orders.send(Order::Cancel).await.ok();
        }
    }

    /// What the editor does for who works in its folder.
    fn offer(&self, editor: &Line) -> Offer {
        let able = self.able.get().cloned().unwrap_or_default();
        Offer {
            files: Files::new(editor.clone(), &able.fs),
            terminals: Terminals::new(editor.clone(), Arc::clone(&self.open), able.terminal),
        }
    }

    /// The same, if its folder is worked in by this process.
    pub(super) fn offers(&self, editor: &Line) -> Result<Option<Offer>, Error> {
        let offer = self.offer(editor);
        let remote = !self.client.server()?.is_loopback();
        let own = match self.args.hands {
            Some(whose) => whose == Whose::Editor,
            None => self.args.env.is_none() && (offer.able() || remote),
        };
        Ok(own.then_some(offer))
    }

    /// The id of the executor that works in a folder of this machine: opened when it is first needed.
    pub(super) async fn hand(&self, offer: Offer, folder: &Path, known: Option<&str>) -> Result<String, Error> {
        let mut hands = self.hands.lock().await;
        hands.retain(|(_, open)| open.serve());
        let fits = |open: &Hands| known.is_none_or(|id| open.executor_id == id);
        if let Some((_, open)) = hands.iter().find(|(of, open)| of == folder && fits(open)) {
            return Ok(open.executor_id.clone());
        }
        let opened = Hands::open(&self.client, offer, folder, known).await?;
        let id = opened.executor_id.clone();
        hands.push((folder.to_owned(), opened));
        Ok(id)
    }

    /// A session that worked in the folder of an editor here works there again. One that does not is as well opened.
    pub(super) async fn again(&self, session: &Session, folder: &Path, editor: &Line) {
        let offer = self.offer(editor);
        let again = async {
            let Some(id) = sessions::machine(&self.client, session).await? else {
                return Ok(());
            };
            self.hand(offer, folder, Some(&id)).await.map(drop)
        };
        if let Err::<(), Error>(error) = again.await {
            tracing::info!(session.id = session.id, %error, "the session's machine is not this process");
        }
    }

    /// Opens a session; the receiver hears when its past has been told.
    pub(super) async fn open(
        &self,
        session: String,
        folder: PathBuf,
        after: u64,
        head: u64,
        editor: Line,
    ) -> Result<oneshot::Receiver<Result<(), Refusal>>, Refusal> {
        let mut open = self.open.lock().await;
        if open.len() >= SESSIONS && !open.contains_key(&session) {
            return Err(Refusal::new(-32600, format!("{SESSIONS} sessions are open: close one")));
        }
        let opening = Opening {
            session: session.clone(),
            folder,
            after,
            head,
        };
        let (watched, history) = Watched::open(self.client.clone(), editor, self.pace.clone(), opening);
        open.insert(session, watched);
        Ok(history)
    }

    /// Where orders for an open session go. One that is not followed any more, because the server was away for long, is followed
    /// again from where it was left.
    pub(super) async fn orders(&self, session: &str, editor: Line) -> Result<mpsc::Sender<Order>, Refusal> {
        let left = match self.open.lock().await.get(session) {
            Some(watched) if watched.follows() => return Ok(watched.orders()),
            Some(watched) => Some((watched.folder().to_owned(), watched.told())),
            None => None,
        };
        let Some((folder, after)) = left else {
            let why = format!("{session} is not open: create, load or resume it first");
            return Err(Refusal::new(-32602, why));
        };
        let head = self.client.session(session).await.map_err(|error| told(&error))?.head();
        self.open(session.to_owned(), folder, after, head, editor).await?;
        let open = self.open.lock().await;
        open.get(session).map(Watched::orders).ok_or_else(closed)
    }
}

/// It went away while somebody waited for it.
pub(super) fn closed() -> Refusal {
    Refusal::new(-32603, "the session was closed meanwhile")
}
