//! Being asked to stop.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Becomes true once, on SIGINT, SIGTERM or SIGHUP, or when `after` is over. A second signal ends the process at once.
pub(crate) fn requested(after: Option<Duration>) -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let timer = async {
                match after {
                    Some(after) if !asked => tokio::time::sleep(after).await,
                    _ => std::future::pending().await,
                }
            };
            let by_signal = tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hangup.recv() => true,
                () = timer => false,
            };
            if asked {
                // The ledger is made for it: what was not committed is read again.
                std::process::exit(130);
            }
            asked = true;
            if by_signal {
                tracing::info!("stopping; once more to stop at once");
            }
            let _ = sender.send(true);
        }
    });
    Ok(receiver)
}

/// Returns once it is asked to stop.
pub(crate) async fn wait(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
