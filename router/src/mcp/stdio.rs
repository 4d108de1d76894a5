//! Servers that are programs: started where a session's tools run, and spoken to over a stream. Nothing of them runs in this process.

use std::error::Error;
use std::sync::Arc;

use perennial_engine::ports::SessionKey;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::mcp::{SEALED, StdioServer};
use perennial_schema::stream::{MAX_LINE_BYTES, ServerStart};
use perennial_schema::text;
use perennial_schema::{Secret, WorkspaceId};
use perennial_tunnel::server::{Said, read};
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, serve_client_with_lifecycle};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Mounts;
use super::line::{Ear, Line, Listed, Trouble, chain};
use crate::limits;
use crate::streams::NoStream;

/// A program at the other end of a connection; it ends with this.
pub(super) struct Program {
    told: watch::Receiver<Option<String>>,
    _hearing: JoinSet<()>,
}

impl Program {
    /// Why something failed: how the program ended, if it did. Whoever writes to it may notice before its end has been heard.
    pub(super) async fn why(&self, error: &(impl Error + Sync + 'static)) -> String {
        let mut told = self.told.clone();
        let end = timeout(limits::MCP_LAST, told.wait_for(Option::is_some)).await;
        let end = end.ok().and_then(|end| end.ok()?.clone());
        end.unwrap_or_else(|| chain(error))
    }
}

impl From<NoStream> for Trouble {
    fn from(none: NoStream) -> Self {
        Self::unreachable(none.to_string())
    }
}

/// Why a server is not spoken to.
enum Unspoken {
    /// It wants none of a handshake.
    NoHandshake,
    Trouble(Trouble),
}

impl From<Trouble> for Unspoken {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<NoStream> for Unspoken {
    fn from(none: NoStream) -> Self {
        Self::Trouble(none.into())
    }
}

impl Mounts {
    /// Starts it. With a handshake, which most of them want; one that answers that it knows of none is started again without. What
    /// they are asked in any other order they answer when they have fetched themselves, which may be long after.
    pub(super) async fn start(
        &self,
        key: SessionKey,
        server: &StdioServer,
        environment: &EnvironmentConfig,
    ) -> Result<(Line, Arc<Listed>), Trouble> {
        let newest = ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        };
        let mut spoken = self
            .speak(key, server, environment, ClientLifecycleMode::Initialize)
            .await;
        if let Err(Unspoken::NoHandshake) = spoken {
            spoken = self.speak(key, server, environment, newest).await;
        }
        spoken.map_err(|unspoken| match unspoken {
            Unspoken::Trouble(trouble) => trouble,
            Unspoken::NoHandshake => Trouble::unreachable("it speaks no revision of the protocol that is known here"),
        })
    }

    async fn speak(
        &self,
        key: SessionKey,
        server: &StdioServer,
        environment: &EnvironmentConfig,
        lifecycle: ClientLifecycleMode,
    ) -> Result<(Line, Arc<Listed>), Unspoken> {
        let exchange = self.exchange.upgrade();
        let exchange = exchange.ok_or_else(|| Trouble::unreachable("this process is stopping"))?;
        let env = server.env.iter().map(|(name, value)| {
            let value = self.variable(key.workspace, name, value)?;
            Ok::<_, Trouble>((name.clone(), value))
        });
        let env = env.collect::<Result<_, _>>()?;
        let start = |workspace| ServerStart {
            session: key.session,
            workspace,
            command: server.command.clone(),
            args: server.args.clone(),
            env,
        };
        let stream = exchange.start_server(key, environment, start).await?;
        let (heard, said) = tokio::io::split(stream);
        let (ours, theirs) = tokio::io::duplex(limits::MCP_PIPE_BYTES);
        let (tell, told) = watch::channel(None);
        let mut hearing = JoinSet::new();
        hearing.spawn(hear(heard, theirs, tell));
        let program = Program {
            told,
            _hearing: hearing,
        };
        let ear = Ear::new(key, self.news.clone());
        let transport = AsyncRwTransport::new_client(ours, said).with_max_line_length(MAX_LINE_BYTES);
        let opened = serve_client_with_lifecycle(ear.clone(), transport, lifecycle);
        let service = match timeout(limits::MCP_START, opened).await {
            Ok(Ok(service)) => service,
            Ok(Err(ClientInitializeError::JsonRpcError(_))) => return Err(Unspoken::NoHandshake),
            Ok(Err(error)) => return Err(Trouble::unreachable(program.why(&error).await).into()),
            Err(_) => {
                let patience = limits::MCP_START.as_secs();
                return Err(
                    Trouble::unreachable(format!("it was started and did not answer within {patience} s")).into(),
                );
            }
        };
        Ok(Line::begin(service, ear, Some(program)).await?)
    }

    /// The value of a variable. What is not sealed is what it is.
    fn variable(&self, workspace: WorkspaceId, name: &str, value: &str) -> Result<Secret, Trouble> {
        let Some(sealed) = value.strip_prefix(SEALED) else {
            return Ok(Secret::new(value.to_owned()));
        };
        let opened = self.seals.open(&StdioServer::seal(workspace, name), sealed);
        opened.map_err(|error| Trouble::unreachable(format!("its variable {name}: {error}")))
    }
}

/// Hands on what it prints, and notes how it ended before that is noticed.
async fn hear(mut heard: impl AsyncRead + Unpin, mut to: DuplexStream, tell: watch::Sender<Option<String>>) {
    let (mut line, mut wanted) = (0, true);
    let end = loop {
        let Ok(Some(said)) = read(&mut heard).await else {
            break "the executor where it ran went away".to_owned();
        };
        match said {
            Said::Bytes(bytes) => {
                let first = bytes.iter().position(|byte| *byte == b'\n');
                if line + first.unwrap_or(bytes.len()) > MAX_LINE_BYTES {
                    break format!("it was ended: it said more than {MAX_LINE_BYTES} bytes in one line");
                }
                line = match bytes.iter().rposition(|byte| *byte == b'\n') {
                    Some(last) => bytes.len() - last - 1,
                    None => line + bytes.len(),
                };
                // Where nobody listens any more, how it ends may still be asked.
                wanted = wanted && to.write_all(&bytes).await.is_ok();
            }
            Said::Ended { status, errors } => {
                let errors = text::tail(errors.trim(), limits::MCP_ERRORS_BYTES);
                break match errors {
                    "" => format!("it ended with status {status}"),
                    errors => format!("it ended with status {status}, and said: {errors}"),
                };
            }
        }
    };
    tell.send_replace(Some(end));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use perennial_tunnel::server::write;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn heard(all: &[Said]) -> (Vec<u8>, String) {
        let mut wire = Vec::new();
        for said in all {
            write(&mut wire, said).await.unwrap();
        }
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let (tell, told) = watch::channel(None);
        let mut bytes = Vec::new();
        let ((), read) = tokio::join!(hear(&wire[..], theirs, tell), ours.read_to_end(&mut bytes));
        read.unwrap();
        let program = Program {
            told,
            _hearing: JoinSet::new(),
        };
        (bytes, program.why(&std::io::Error::other("?")).await)
    }

    fn bytes(of: impl Into<Bytes>) -> Said {
        Said::Bytes(of.into())
    }

    #[tokio::test]
    async fn it_is_told_how_a_program_ended() {
        let ended = |errors: &str| Said::Ended {
            status: 3,
            errors: errors.to_owned(),
        };
        let (said, why) = heard(&[bytes("{}\n"), bytes("{"), ended("no key\n")]).await;
        assert_eq!(
            (&said[..], &*why),
            (&b"{}\n{"[..], "it ended with status 3, and said: no key")
        );
        assert_eq!(heard(&[ended("")]).await.1, "it ended with status 3");
        assert_eq!(heard(&[bytes("{}\n")]).await.1, "the executor where it ran went away");
        let long = format!("{}end", "x".repeat(10_000));
        let why = heard(&[ended(&long)]).await.1;
        assert!(why.ends_with("end") && why.len() < 2000, "{}", why.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_heard_late_is_told_all_the_same() {
        let (mut theirs, heard) = tokio::io::duplex(1024);
        let (ours, to) = tokio::io::duplex(1024);
        let (tell, told) = watch::channel(None);
        let mut hearing = JoinSet::new();
        hearing.spawn(hear(heard, to, tell));
        let program = Program {
            told,
            _hearing: hearing,
        };
        // As when what was said to it could not be written: nobody listens any more, and then its end comes.
        drop(ours);
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let ends = async {
            tokio::time::sleep(limits::MCP_LAST / 2).await;
            write(&mut theirs, &bytes("{}\n")).await.unwrap();
            let (status, errors) = (7, "no key".to_owned());
            write(&mut theirs, &Said::Ended { status, errors }).await.unwrap();
        };
        let (why, ()) = tokio::join!(program.why(&broken), ends);
        assert_eq!(why, "it ended with status 7, and said: no key");
    }

    #[tokio::test]
    async fn a_line_is_bounded() {
        let most = bytes(vec![b'x'; MAX_LINE_BYTES]);
        let (said, why) = heard(&[most.clone(), bytes("\n"), most.clone(), bytes("\n")]).await;
        assert!(
            said.len() == 2 * (MAX_LINE_BYTES + 1) && why.contains("went away"),
            "{why}"
        );
        let (_, why) = heard(&[most, bytes("x")]).await;
        assert!(why.contains("in one line"), "{why}");
    }
}
