//! Where a destination is, in the ledger: steps, of which only one follows each other.

use custody_forward::delivery::Dead;
use custody_forward::sink::Item;
use custody_ledger::{Advance, AppendError, Ledger, Stream, TableWriter};
use custody_query::Engine;
use custody_query::feed::ForwardStep;
use custody_schemas::columns::StoredEvent;
use custody_schemas::forwarding::{Step, Undelivered, steps, undelivered};
use custody_schemas::table::Table;

use super::feed::Position;
use crate::activity::now;
use crate::exit::Failure;

/// Moves a destination on.
pub(super) struct Cursor {
    destination: String,
    /// This process.
    pub(super) worker: String,
    writer: TableWriter,
    dead: TableWriter,
}

/// Another has moved the destination since: a person, or another process.
#[derive(Debug)]
pub(super) enum Moved {
    /// By another.
    Elsewhere,
    /// The ledger fails.
    Failed(Failure),
}

impl Cursor {
    pub(super) async fn open(ledger: &Ledger, destination: &str) -> Result<Self, Failure> {
        Ok(Self {
            destination: destination.to_owned(),
            worker: uuid::Uuid::new_v4().to_string(),
            writer: ledger.writer(Table::Forwarding).await?,
            dead: ledger.writer(Table::Undelivered).await?,
        })
    }

    fn stream(&self) -> Stream {
        Stream { cluster: "custody".to_owned(), topic: format!("forward/{}", self.destination), partition: 0 }
    }

    /// The newest step; `None` where there is none yet.
    pub(super) async fn load(&mut self, engine: &Engine) -> Result<Option<ForwardStep>, Failure> {
        Ok(engine.steps(Some(&self.destination)).await?.into_iter().next())
    }

    /// Whether nobody has moved the destination since this step.
    pub(super) async fn is_at(&mut self, step: i64) -> Result<bool, Failure> {
        self.writer.refresh().await.map_err(Failure::broken)?;
        Ok(self.writer.cursor(&self.stream()).await.map_err(Failure::broken)? == Some(step))
    }

    /// Commits what follows a step (0 where there is none). Returns its number.
    pub(super) async fn advance(&mut self, from: i64, step: Step) -> Result<i64, Moved> {
        // Never the number of another's step: a commit that seems to have landed is then this one.
        let salt = i64::from(uuid::Uuid::new_v4().as_fields().0 % 1000);
        let to = (now() * 1000 + salt).max(from + 1);
        let step = Step { destination: self.destination.clone(), step: to, at: now(), ..step };
        let rows = steps(&[step]).map_err(|error| Moved::Failed(Failure::broken(error)))?;
        let advance = Advance { stream: self.stream(), from: (from > 0).then_some(from), to };
        match self.writer.append(&rows, &[advance]).await {
            Ok(_) => Ok(to),
            Err(AppendError::Fenced { .. }) => Err(Moved::Elsewhere),
            Err(error) => Err(Moved::Failed(Failure::broken(error))),
        }
    }

    /// Writes down what was refused, or what became of it.
    pub(super) async fn bury(&mut self, rows: &[Undelivered]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = undelivered(rows).map_err(Failure::broken)?;
        self.dead.append(&rows, &[]).await.map(drop).map_err(Failure::broken)
    }

    /// The row of an event that was refused.
    pub(super) fn refused(&self, event: &StoredEvent, item: &Item, dead: &Dead) -> Undelivered {
        Undelivered {
            destination: self.destination.clone(),
            at: now(),
            event_id: item.id.clone(),
            topic: event.topic.clone(),
            partition: event.partition,
            offset: event.offset,
            index: event.index,
            outcome: "refused".to_owned(),
            status: dead.refusal.status.map(i32::from),
            answer: Some(dead.refusal.answer.clone()),
            attempts: i32::try_from(dead.attempts).unwrap_or(i32::MAX),
            actor: None,
        }
    }
}

/// The position of a step.
pub(super) fn position_of(step: &ForwardStep) -> Result<Position, Failure> {
    serde_json::from_str(&step.position).map(Position::with_turns).map_err(|error| {
        Failure::broken(anyhow::anyhow!("the position of {} cannot be read: {error}", step.destination))
    })
}
