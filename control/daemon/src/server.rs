//! The two listeners: the status document on a Unix socket, Prometheus text on TCP.
//!
//! Both run on a thread of their own and hold nothing: each request travels to the main loop, which owns all state, and
//! its answer back. A slow client delays nobody but itself.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Requests the main loop may owe answers to; one more is refused at once.
pub const OUTSTANDING: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    Status,
    Metrics,
}

/// A question to the main loop, and the way its answer goes.
pub struct Request {
    pub document: Document,
    pub answer: oneshot::Sender<String>,
}

/// What the main loop wakes up for.
pub enum Wake {
    Question(Request),
    /// Another thread has done its public-key work.
    Computed(culvert_ike::ComputeResult),
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("[metrics] listen = \"{listen}\": {error}; {}", listen_hint(error))]
    Metrics { listen: SocketAddr, error: io::Error },
    #[error("control socket {}: {error}; give --socket a path in a directory this process may write", path.display())]
    Socket { path: PathBuf, error: io::Error },
    #[error("cannot start the server thread: {0}")]
    Thread(io::Error),
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has this port; `ss -ltnp` names it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root; choose a higher one",
        _ => "see the system's message",
    }
}

/// Both sockets, bound and not yet served: a gateway that cannot have them does not start at all.
pub struct Listeners {
    status: std::os::unix::net::UnixListener,
    metrics: Option<std::net::TcpListener>,
}

impl Listeners {
    pub fn bind(socket: &Path, metrics: Option<SocketAddr>) -> Result<Self, ServerError> {
        let metrics = metrics
            .map(|listen| std::net::TcpListener::bind(listen).map_err(|error| ServerError::Metrics { listen, error }))
            .transpose()?;
        let error = |error| ServerError::Socket { path: socket.to_owned(), error };
        // Only one control process holds the link, so a socket that is left here belongs to a dead one.
        match std::fs::remove_file(socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
            _ => {}
        }
        let status = std::os::unix::net::UnixListener::bind(socket).map_err(error)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660)).map_err(error)?;
        Ok(Self { status, metrics })
    }

    /// Serves on a thread of its own until the process ends.
    pub fn serve(self, questions: mpsc::SyncSender<Wake>) -> Result<(), ServerError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::Thread)?;
        let serve = move || runtime.block_on(self.accept(questions));
        std::thread::Builder::new().name("culvert-http".into()).spawn(serve).map_err(ServerError::Thread)?;
        Ok(())
    }

    async fn accept(self, questions: mpsc::SyncSender<Wake>) {
        let app = Router::new()
            .route("/v1/status", get(status))
            .route("/metrics", get(metrics))
            .with_state(Questions { questions, outstanding: std::sync::Arc::new(Semaphore::new(OUTSTANDING)) });
        let on_tcp = async {
            let Some(listener) = self.metrics else { return Ok(()) };
            listener.set_nonblocking(true)?;
            axum::serve(tokio::net::TcpListener::from_std(listener)?, app.clone()).await
        };
        let on_unix = async {
            self.status.set_nonblocking(true)?;
            axum::serve(tokio::net::UnixListener::from_std(self.status)?, app.clone()).await
        };
        let (tcp, unix): (io::Result<()>, io::Result<()>) = tokio::join!(on_tcp, on_unix);
        for error in [tcp.err(), unix.err()].into_iter().flatten() {
            tracing::error!("a listener ended: {error}; tunnels go on, status and metrics do not");
        }
    }
}

#[derive(Clone)]
struct Questions {
    questions: mpsc::SyncSender<Wake>,
    outstanding: std::sync::Arc<Semaphore>,
}

impl Questions {
    async fn ask(&self, document: Document) -> Result<String, (StatusCode, &'static str)> {
        const BUSY: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n");
        let _permit = self.outstanding.try_acquire().map_err(|_| BUSY)?;
        let (answer, receiver) = oneshot::channel();
        self.questions.try_send(Wake::Question(Request { document, answer })).map_err(|_| BUSY)?;
        match tokio::time::timeout(TIMEOUT, receiver).await {
            Ok(Ok(text)) => Ok(text),
            _ => Err((StatusCode::SERVICE_UNAVAILABLE, "the control process is stopping or overloaded\n")),
        }
    }
}

async fn status(State(questions): State<Questions>) -> Response {
    let text = questions.ask(Document::Status).await;
    text.map(|text| ([(header::CONTENT_TYPE, "application/json")], text)).into_response()
}

async fn metrics(State(questions): State<Questions>) -> Response {
    let text = questions.ask(Document::Metrics).await;
    text.map(|text| ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text)).into_response()
}
