//! Every bound of this crate.

use std::time::Duration;

/// Calls and questions one executor may have outstanding; more are refused as not started.
pub const PENDING_PER_LINK: usize = 4096;
/// Executors attached at once.
pub const LINKS: usize = 1024;
/// How long a new link may take to say hello.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long a call, or a question about one, waits for an executor that is away.
pub const ATTACH_WAIT: Duration = Duration::from_secs(5);
/// The same for a call on a machine that dialled in: its network may be away for a while, and the call goes on there.
pub const GUEST_WAIT: Duration = Duration::from_secs(60);
/// How long a call waits for its sandbox, which may have to be made of an image that is not there yet.
pub const SANDBOX_WAIT: Duration = Duration::from_secs(300);
/// How long the executor of a sandbox that runs may take to dial home.
pub const SANDBOX_DIALS: Duration = Duration::from_secs(30);
/// Between two looks at sandboxes while something is done about one.
pub const SANDBOX_LOOK: Duration = Duration::from_millis(500);
/// The same while nothing is: somebody else may have stopped or removed one.
pub const SANDBOX_REST: Duration = Duration::from_secs(10);
/// Least time between two looks, however often one is asked for.
pub const SANDBOX_GAP: Duration = Duration::from_millis(20);
/// How often the store is asked whether a look is needed, when no nudge says so.
pub const SANDBOX_SWEEP: Duration = Duration::from_secs(2);
/// Sandboxes that nobody makes yet and one look takes: others may look, too.
pub const SANDBOXES_ADOPTED: usize = 4;
/// Sandboxes that something is done about, above which no more are taken.
pub const SANDBOXES_BUSY: usize = 64;
/// How long the reason of a failure is kept.
pub const SANDBOX_FAILURE: Duration = Duration::from_secs(10 * 60);
/// A use is said again when it was said so long ago.
pub const USE_RENEW: Duration = Duration::from_secs(10);
/// How often uses are looked at for that.
pub const USE_LOOK: Duration = Duration::from_secs(1);
/// After the last call a sandbox counts as used for so long: the next one may come at once.
pub const USE_QUIET: Duration = Duration::from_secs(2);
/// How often a process says that it makes sandboxes.
pub const HOST_BEAT: Duration = Duration::from_secs(5);
/// How often sandboxes are looked for that are over and nobody said so.
pub const SANDBOXES_SWEEP: Duration = Duration::from_secs(60);
/// How old what is known of them may be.
pub const HOSTS_FRESH: Duration = Duration::from_secs(2);
/// How old it may be that there are none: the first one is used as soon as it is there.
pub const NO_HOSTS_FRESH: Duration = Duration::from_millis(100);
/// How long a call waits before it looks who could make its sandbox.
pub const HOSTS_LOOK: Duration = Duration::from_secs(1);
/// How long it waits for one of them to come back.
pub const HOSTS_WAIT: Duration = Duration::from_secs(20);
/// How long what is done to a sandbox may take when the server stops.
pub const SANDBOX_CLOSE: Duration = Duration::from_secs(5);
/// How long the executor in a sandbox may take to end when it is stopped.
pub const SANDBOX_STOP_SECONDS: i32 = 10;
/// How long an answer of the container engine may take; images are waited for longer.
pub const ENGINE_WAIT: Duration = Duration::from_secs(60);
/// How long the copy of a workspace folder may take.
pub const COPY_WAIT: Duration = Duration::from_secs(300);
/// How long an executor may take to look at its machine again: its programs have three seconds to answer it.
pub const PROBE_WAIT: Duration = Duration::from_secs(6);
/// How long one piece of a long output may take.
pub const PIECE_WAIT: Duration = Duration::from_secs(30);
/// Answers about one pack that may wait for who asked.
pub const PACK_ANSWERS: usize = 4;
/// Longest line that says what an executor is, in characters: it is in every model request, once a tool.
pub const SUMMARY_CHARS: usize = 400;
/// Longest tool name offered to a model.
pub const TOOL_NAME_BYTES: usize = 64;
/// Largest request a harness may send to its MCP endpoint, in bytes.
pub const MCP_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Longest result a harness must take as it is, in characters: twice what an event keeps inline.
pub const MCP_RESULT_CHARS: usize = 2 * perennial_schema::limits::TOOL_OUTPUT_BYTES;
/// Frames that wait on the line to an executor process, each way.
pub const LINE_FRAMES: usize = 256;
/// Pause after the first attempt to dial an executor process; it doubles with each.
pub const DIAL_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
pub const DIAL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long an executor process that was started may take before another one is.
pub const START_AGAIN: Duration = Duration::from_secs(3);
/// How often a question over the bus is asked when nobody answers.
pub const REMOTE_TRIES: u32 = 2;
/// How long a copy or a pack may take before its answer is that it is under way; less than a question waits.
pub const RELAY_PATIENCE: Duration = Duration::from_secs(3);
/// Questions answered at once, and answers of copies and packs remembered.
pub const RELAYED: usize = 256;
/// Calls to other hosts whose output is still to be read.
pub const LOOKS: usize = 256;
/// Longest text of an answer that comes over the bus.
pub const RELAYED_TEXT_BYTES: usize = 32 * 1024;
/// Longest piece of an output that does, in base64: a multiple of four.
pub const LOOK_PIECE_CHARS: usize = 160 * 1024;
/// How long dialling another process may take.
pub const TRUNK_DIAL: Duration = Duration::from_secs(2);
/// Pause after the first look for a machine that dialled in elsewhere; it doubles with each.
pub const TRUNK_PAUSE: Duration = Duration::from_millis(20);
/// Longest such pause.
pub const TRUNK_PAUSE_MAX: Duration = Duration::from_millis(250);
/// How long a trunk without calls stays.
pub const TRUNK_IDLE: Duration = Duration::from_secs(10 * 60);
/// How long a session waits, before its next step, for a machine that it may need.
pub const PREPARE_WAIT: Duration = Duration::from_secs(2);
/// Between two cards of an executor that are noted; of those in between the last one is.
pub const CARD_PAUSE: Duration = Duration::from_millis(500);
/// Connections of one machine that have not introduced themselves yet; one more is hung up on.
pub const UNINTRODUCED: usize = 8;
/// Largest message on a tunnel.
pub const TUNNEL_MESSAGE_BYTES: usize = perennial_tunnel::limits::MESSAGE_BYTES;
/// Bytes of its socket read at a time.
pub const TUNNEL_READ_BYTES: usize = perennial_tunnel::limits::READ_BYTES;
/// Streams of an executor of this host at once.
pub const HOME_LANES: usize = 256;
/// How long a machine, or its owner, may take to say whether it goes on with a stream.
pub const OPENING_WAIT: Duration = Duration::from_secs(60);
/// How long the last word on a file may take after its last byte: it has to be on disk.
pub const WORD_WAIT: Duration = Duration::from_secs(60);
/// Bytes of a stream that is handed on, in memory each way.
pub const STREAM_PIECE_BYTES: usize = 64 * 1024;
/// How often a process says which tunnels it holds, and hears which of them do not count any more.
pub const TUNNEL_RENEW: Duration = Duration::from_secs(2);
/// How long the last word to an executor may take.
pub const GOODBYE: Duration = Duration::from_secs(1);

/// Connections of one sandbox through its proxy at once; more wait.
pub(crate) const PROXY_CONNECTIONS: usize = 64;
/// Pause after one that could not be taken.
pub(crate) const PROXY_PAUSE: Duration = Duration::from_millis(100);

/// How long an MCP server may take to be reached, and again to say what it offers.
pub const MCP_CONNECT: Duration = Duration::from_secs(10);
/// How long one that is started may take to say anything: it may have to fetch itself first.
pub const MCP_START: Duration = Duration::from_secs(60);
/// How long it may take to hear how one ended that takes nothing more.
pub const MCP_LAST: Duration = Duration::from_secs(2);
/// Calls of which it is remembered why their answer was lost, until somebody asks.
pub const MCP_LOST: usize = 256;
/// The end of what one that ended said of errors, as it is told.
pub const MCP_ERRORS_BYTES: usize = 1024;
/// Bytes of what a server says that wait to be read.
pub const MCP_PIPE_BYTES: usize = 64 * 1024;
/// How long a call of one of its tools may take.
pub const MCP_CALL: Duration = Duration::from_secs(10 * 60);
/// How long what it offers is taken as it was said.
pub const MCP_LIST_FRESH: Duration = Duration::from_secs(60);
/// How long one that was not reached is left alone.
pub const MCP_LEFT_ALONE: Duration = Duration::from_secs(15);
/// How long a connection that no session wants stays.
pub const MCP_IDLE: Duration = Duration::from_secs(5 * 60);
/// How often it is looked for such.
pub const MCP_SWEEP: Duration = Duration::from_secs(30);
/// Connections at once, one for each session and server.
pub const MCP_LINES: usize = 1024;
/// Calls under way at once.
pub const MCP_CALLS: usize = 1024;
/// Tools of one server.
pub const MCP_TOOLS: usize = 128;
/// Pages they come on.
pub const MCP_PAGES: usize = 16;
/// Longest description of one tool, its schema included.
pub const MCP_CARD_BYTES: usize = 64 * 1024;
/// Blocks of a result.
pub const MCP_BLOCKS: usize = 64;
/// Largest picture of a result, in base64.
pub const MCP_PICTURE_BYTES: usize = 4 * 1024 * 1024;
/// Longest reason why something failed that is told.
pub const MCP_REASON_CHARS: usize = 500;
