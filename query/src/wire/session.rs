//! One connection after its start: statements in, answers out, until one side leaves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::adapt::{Asker, Names, Parameters, adapt, known_to_be_empty, names};
use super::commands::{Command, Part, Settings, split};
use super::error::Refusal;
use super::message::{
    Broken, Column, Inbox, MESSAGE_BYTES_MAX, Message, OPENING_BYTES_MAX, Outbox, Target, Transaction,
};
use super::{Ending, IDLE_TIME, Outcome, Question, Shared, Stream, values};
use crate::engine::{AsOf, Bounds, QueryStream, Versions, parse};
use crate::error::QueryError;
use crate::pg_catalog::types::{self, ColumnType};
use crate::text::visible;

/// As PostgreSQL: more columns than anybody reads.
const COLUMNS_MAX: usize = 1664;
/// An answer may be this long, as over HTTP.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// Prepared statements and portals of one session, and the bytes of their texts and parameters.
const KEPT_MAX: usize = 512;
const KEPT_BYTES_MAX: usize = 4 << 20;
/// A client that takes nothing for so long is gone.
const SEND_TIME: Duration = Duration::from_secs(60);

/// Why a statement did not go on.
enum Fault {
    Refused(Refusal),
    /// The connection ends: the client is gone, or Custody is asked to stop.
    Over(Option<Refusal>),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone => Self::Over(None),
            Broken::Malformed(why) => Self::Over(Some(Refusal::new("08P01", why))),
        }
    }
}

/// Both directions of a connection, and what can interrupt it.
pub(super) struct Line {
    inbox: Inbox<ReadHalf<Box<dyn Stream>>>,
    pub(super) outbox: Outbox<WriteHalf<Box<dyn Stream>>>,
    stop: watch::Receiver<bool>,
    pub(super) cancelled: watch::Receiver<()>,
}

impl Line {
    pub(super) fn new(
        inbox: Inbox<ReadHalf<Box<dyn Stream>>>,
        outbox: Outbox<WriteHalf<Box<dyn Stream>>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (_, cancelled) = watch::channel(());
        Self { inbox, outbox, stop, cancelled }
    }

    /// The client's next word on who it is.
    pub(super) async fn password(&mut self) -> Result<Bytes, Option<Refusal>> {
        self.outbox.flush().await.map_err(|_| None)?;
        match self.inbox.message(OPENING_BYTES_MAX).await {
            Ok(Message::Password(bytes)) => Ok(bytes),
            Ok(_) => Err(Some(Refusal::new("08P01", "a password was expected"))),
            Err(Broken::Malformed(why)) => Err(Some(Refusal::new("08P01", why))),
            Err(Broken::Gone) => Err(None),
        }
    }

    /// Tells the client what went wrong.
    pub(super) fn refuse(&mut self, severity: &str, refusal: &Refusal) {
        let message: Vec<_> = refusal.message.lines().map(visible).collect();
        let message = message.join("\n");
        let position = refusal.position.map(|position| position.to_string());
        let mut fields = vec![(b'S', severity), (b'V', severity), (b'C', refusal.code), (b'M', message.as_str())];
        if let Some(position) = &position {
            fields.push((b'P', position));
        }
        self.outbox.report(true, &fields);
    }

    fn notice(&mut self, message: &str) {
        self.outbox.report(false, &[(b'S', "NOTICE"), (b'V', "NOTICE"), (b'C', "00000"), (b'M', message)]);
    }

    /// Does something for the client, as long as it is there and wants it.
    async fn during<T>(&mut self, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Fault> {
        tokio::select! {
            done = work => Ok(done?),
            Ok(()) = self.cancelled.changed() => {
                Err(Refusal::new("57014", "the statement was cancelled, as its user asked for").into())
            }
            () = self.inbox.gone() => Err(Fault::Over(None)),
            _ = self.stop.wait_for(|stop| *stop) => Err(stopping()),
        }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        match timeout(SEND_TIME, self.outbox.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Fault::Over(None)),
        }
    }
}

fn stopping() -> Fault {
    Fault::Over(Some(Refusal::new("57P01", "Custody is being stopped")))
}

/// A prepared statement.
struct Prepared {
    part: Option<Part>,
    /// Types that the client gave of its parameters; 0 where it leaves it to the server.
    types: Vec<i32>,
    described: Option<Described>,
}

#[derive(Clone)]
struct Described {
    parameters: Vec<ColumnType>,
    /// `None` when it has no rows at all, as `SET`.
    columns: Option<Vec<(String, ColumnType)>>,
}

/// A statement in the engine's words, the names of its columns, those of a question that has no rows for certain, and
/// what was seen of its parameters.
struct Adapted {
    statement: Statement,
    /// The state of the ledger that it asks for.
    as_of: Option<AsOf>,
    names: Names,
    empty: Option<Vec<String>>,
    parameters: Parameters,
}

/// A statement with its parameters, on its way to be answered.
struct Portal {
    part: Option<Part>,
    parameters: Vec<ScalarValue>,
    /// Types of the parameters, as the client gave them.
    types: Vec<i32>,
    shown: Vec<Option<String>>,
    formats: Vec<i16>,
    columns: Option<Vec<(String, ColumnType)>>,
    state: State,
    bytes: usize,
}

enum State {
    New,
    Running(Box<Running>),
    Done,
}

/// An answer that is being sent.
struct Running {
    question: Question,
    rows: Rows,
    columns: Vec<(ColumnType, bool)>,
    /// Columns in the form in which they are written, how many rows they have, and the one that is next.
    batch: (Vec<ArrayRef>, usize, usize),
    sent: u64,
    bytes: u64,
    versions: Option<Versions>,
    until: Option<Instant>,
}

enum Rows {
    Ledger(QueryStream),
    Session(Option<RecordBatch>),
}

/// One connection after its start.
pub(super) struct Session {
    shared: Arc<Shared>,
    line: Line,
    user: String,
    peer: SocketAddr,
    process: i32,
    settings: Settings,
    transaction: Transaction,
    /// After an error messages are passed over until the client says where it goes on.
    skipping: bool,
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    _seat: OwnedSemaphorePermit,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.forget(self.process);
    }
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        line: Line,
        user: String,
        peer: SocketAddr,
        process: i32,
        settings: Settings,
        seat: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            shared,
            line,
            user,
            peer,
            process,
            settings,
            transaction: Transaction::Idle,
            skipping: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            _seat: seat,
        }
    }

    /// Answers until one side leaves.
    pub(super) async fn run(mut self) {
        let ended = self.converse().await;
        if let Err(Some(refusal)) = &ended {
            self.line.refuse("FATAL", refusal);
        }
        self.close_portals().await;
        let _ = timeout(SEND_TIME, self.line.outbox.close()).await;
    }

    async fn converse(&mut self) -> Result<(), Option<Refusal>> {
        self.line.outbox.ready(Transaction::Idle);
        self.line.flush().await.map_err(|_| None)?;
        loop {
            let step = async {
                let Some(message) = self.next().await? else { return Ok(false) };
                self.answer(message).await?;
                if self.line.outbox.is_full() {
                    self.line.flush().await?;
                }
                Ok(true)
            };
            match step.await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Fault::Over(why)) => return Err(why),
                // Those that a statement meets with are told where it is answered.
                Err(Fault::Refused(refusal)) => return Err(Some(refusal)),
            }
        }
    }

    /// The next message; `None` when the client says goodbye. Answers that wait for the client longer than they may are
    /// dropped meanwhile, because they hold a turn of the engine.
    async fn next(&mut self) -> Result<Option<Message>, Fault> {
        let idle = Instant::now() + IDLE_TIME;
        loop {
            let until = self.portals.values().filter_map(|portal| match &portal.state {
                State::Running(running) => running.until,
                _ => None,
            });
            let until = until.min().unwrap_or(idle).min(idle);
            tokio::select! {
                message = self.line.inbox.message(MESSAGE_BYTES_MAX) => return match message? {
                    Message::Terminate => Ok(None),
                    message => Ok(Some(message)),
                },
                () = sleep_until(until) => {}
                _ = self.line.stop.wait_for(|stop| *stop) => return Err(stopping()),
            }
            if Instant::now() >= idle {
                let message = "the connection was idle for too long";
                return Err(Fault::Over(Some(Refusal::new("57P05", message))));
            }
            let late: Vec<String> =
                self.portals.iter().filter(|(_, portal)| portal.is_late()).map(|(name, _)| name.clone()).collect();
            for name in late {
                if let Some(mut portal) = self.portals.remove(&name) {
                    let error = QueryError::Timeout(self.settings.time().unwrap_or_default());
                    self.finish(&mut portal, Some(&Refusal::of(error, ""))).await;
                }
            }
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Fault> {
        match message {
            Message::Query(sql) if !self.skipping => {
                let simple = self.simple(&sql).await;
                self.told(simple)?;
                self.line.outbox.ready(self.transaction);
                self.line.flush().await
            }
            Message::Sync => {
                self.skipping = false;
                if self.transaction == Transaction::Idle {
                    self.close_portals().await;
                }
                self.line.outbox.ready(self.transaction);
                self.line.flush().await
            }
            Message::Flush => self.line.flush().await,
            _ if self.skipping => Ok(()),
            // What is left of a COPY that was refused.
            Message::Copy => Ok(()),
            Message::Password(_) | Message::Call => {
                self.told(Err(Refusal::new("0A000", "such a message is not understood here").into()))?;
                self.line.outbox.ready(self.transaction);
                self.line.flush().await
            }
            message => {
                let done = self.extended(message).await;
                self.skipping = matches!(done, Err(Fault::Refused(_)));
                self.told(done)
            }
        }
    }

    /// Tells the client why something was refused, which ends an open transaction.
    fn told(&mut self, done: Result<(), Fault>) -> Result<(), Fault> {
        let Err(Fault::Refused(refusal)) = done else { return done };
        self.line.refuse("ERROR", &refusal);
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
        Ok(())
    }

    /// A text with any number of statements, each answered in full.
    async fn simple(&mut self, sql: &str) -> Result<(), Fault> {
        let parts = match split(sql) {
            Ok(parts) => parts,
            Err(refusal) => {
                self.record_refused(sql, Vec::new(), &refusal).await?;
                return Err(refusal.into());
            }
        };
        if parts.is_empty() {
            self.line.outbox.empty();
        }
        for part in parts {
            let before = part.before;
            let mut portal = Portal::new(Some(part), Vec::new(), Vec::new(), Vec::new());
            let done = self.execute(&mut portal, None, true).await;
            done.map_err(|fault| match fault {
                Fault::Refused(refusal) => {
                    let position = refusal.position.map(|position| position + before);
                    Fault::Refused(Refusal { position, ..refusal })
                }
                over => over,
            })?;
        }
        Ok(())
    }

    async fn extended(&mut self, message: Message) -> Result<(), Fault> {
        match message {
            Message::Parse { name, sql, types } => {
                if let Err(refusal) = self.prepare(name, &sql, types) {
                    self.record_refused(&sql, Vec::new(), &refusal).await?;
                    return Err(refusal.into());
                }
                self.line.outbox.parse_complete();
                Ok(())
            }
            Message::Bind { portal, statement, formats, values, results } => {
                self.bind(portal, &statement, &formats, &values, results).await
            }
            Message::Describe(Target::Statement(name)) => {
                let described = self.described(&name).await?;
                let types: Vec<i32> = described.parameters.iter().map(|parameter| parameter.oid()).collect();
                self.line.outbox.parameter_types(&types);
                self.tell_columns(described.columns.as_deref(), &[])
            }
            Message::Describe(Target::Portal(name)) => {
                let portal = self.portals.get(&name).ok_or_else(|| no_portal(&name))?;
                let (columns, formats) = (portal.columns.clone(), portal.formats.clone());
                self.tell_columns(columns.as_deref(), &formats)
            }
            Message::Execute { portal: name, rows } => {
                let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
                let most = usize::try_from(rows).ok().filter(|most| *most > 0);
                let done = self.execute(&mut portal, most, false).await;
                if done.is_ok() {
                    self.portals.insert(name, portal);
                }
                done
            }
            Message::Close(target) => {
                match target {
                    Target::Statement(name) => drop(self.statements.remove(&name)),
                    Target::Portal(name) => {
                        if let Some(mut portal) = self.portals.remove(&name) {
                            self.finish(&mut portal, None).await;
                        }
                    }
                }
                self.line.outbox.close_complete();
                Ok(())
            }
            _ => Err(Refusal::new("08P01", "such a message was not expected").into()),
        }
    }

    fn prepare(&mut self, name: String, sql: &str, types: Vec<i32>) -> Result<(), Refusal> {
        let mut parts = split(sql)?;
        if parts.len() > 1 {
            return Err(Refusal::new("42601", "several statements cannot be prepared as one"));
        }
        let part = parts.pop();
        if let Some(Part { sql, command: None, .. }) = &part {
            parse(sql).map_err(|error| Refusal::of(error, sql))?;
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Refusal::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        self.has_room(sql.len())?;
        self.statements.insert(name, Prepared { part, types, described: None });
        Ok(())
    }

    /// Bounds what a session keeps.
    fn has_room(&self, bytes: usize) -> Result<(), Refusal> {
        let statements = self.statements.values().filter_map(|statement| Some(statement.part.as_ref()?.sql.len()));
        let kept: usize = statements.chain(self.portals.values().map(|portal| portal.bytes)).sum();
        if self.statements.len() + self.portals.len() >= KEPT_MAX || kept + bytes > KEPT_BYTES_MAX {
            return Err(Refusal::new("53200", "the session keeps too many statements: close some"));
        }
        Ok(())
    }

    async fn bind(
        &mut self,
        name: String,
        statement: &str,
        formats: &[i16],
        bound: &[Option<Bytes>],
        results: Vec<i16>,
    ) -> Result<(), Fault> {
        let described = self.described(statement).await?;
        let prepared = self.statements.get(statement);
        let (part, types) =
            prepared.map(|prepared| (prepared.part.clone(), prepared.types.clone())).unwrap_or_default();
        if bound.len() != described.parameters.len() {
            let message = format!("{} parameters were given, {} are needed", bound.len(), described.parameters.len());
            return Err(Refusal::new("08P01", message).into());
        }
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Refusal::new("42P03", format!("portal \"{name}\" already exists")).into());
        }
        let bytes = bound.iter().flatten().map(Bytes::len).sum::<usize>();
        let sql_bytes = part.as_ref().map_or(0, |part| part.sql.len());
        self.has_room(bytes.saturating_mul(2).saturating_add(sql_bytes))?;
        let mut parameters = Vec::new();
        for (number, (value, column_type)) in bound.iter().zip(&described.parameters).enumerate() {
            let binary = format_of(formats, number) == 1;
            parameters.push(values::read(value.as_ref(), *column_type, binary)?);
        }
        let shown = parameters.iter().map(|value| (!value.is_null()).then(|| value.to_string())).collect();
        let mut portal = Portal::new(part, parameters, shown, results);
        (portal.columns, portal.types) = (described.columns, types);
        portal.bytes = bytes.saturating_mul(2).saturating_add(sql_bytes);
        if let Some(mut before) = self.portals.insert(name, portal) {
            self.finish(&mut before, None).await;
        }
        self.line.outbox.bind_complete();
        Ok(())
    }

    /// What a prepared statement takes and yields. An attempt that is refused here is recorded: it will not be executed.
    async fn described(&mut self, name: &str) -> Result<Described, Fault> {
        let prepared = self
            .statements
            .get(name)
            .ok_or_else(|| Refusal::new("26000", format!("prepared statement \"{name}\" does not exist")))?;
        if let Some(described) = &prepared.described {
            return Ok(described.clone());
        }
        let (part, types) = (prepared.part.clone(), prepared.types.clone());
        self.allowed(part.as_ref())?;
        match self.describe(part.as_ref(), &types).await {
            Ok(described) => {
                if let Some(prepared) = self.statements.get_mut(name) {
                    prepared.described = Some(described.clone());
                }
                Ok(described)
            }
            Err(Fault::Refused(refusal)) => {
                self.record_refused(&part.map(|part| part.sql).unwrap_or_default(), Vec::new(), &refusal).await?;
                Err(refusal.into())
            }
            Err(over) => Err(over),
        }
    }

    async fn describe(&mut self, part: Option<&Part>, types: &[i32]) -> Result<Described, Fault> {
        let given = |number: usize| types.get(number).and_then(|oid| ColumnType::from_oid(*oid));
        let given = |number: usize| given(number).filter(|given| given.of != types::UNKNOWN);
        let Some(part) = part else { return Ok(Described { parameters: Vec::new(), columns: None }) };
        if let Some(command) = &part.command {
            return Ok(Described { parameters: Vec::new(), columns: columns_of_command(command) });
        }
        let Adapted { statement, names, empty, parameters: seen, .. } = self.statement(part, types)?;
        let (engine, time) = (self.shared.wire.engine.clone(), self.settings.time());
        let planned = self.line.during(async {
            match engine.describe(statement, time).await {
                Ok(planned) => Ok(Some(planned)),
                Err(QueryError::Invalid(_)) if empty.is_some() => Ok(None),
                Err(error) => Err(Refusal::of(error, &part.sql)),
            }
        });
        let (schema, inferred) = planned.await?.unzip();
        let inferred = inferred.unwrap_or_default();
        let count = seen.count.max(types.len());
        if count > usize::from(u16::MAX) {
            return Err(Refusal::new("54000", "there are too many parameters").into());
        }
        let parameter = |number: usize| match given(number) {
            Some(given) => given,
            None if seen.arrays.contains(&number) => ColumnType { array: true, ..text_type() },
            None => {
                let inferred = inferred.get(&format!("${}", number + 1)).and_then(Option::as_ref);
                inferred.map_or(text_type(), types::of_arrow)
            }
        };
        let parameters = (0..count).map(parameter).collect();
        let Some(schema) = schema else {
            let columns = empty.unwrap_or_default().into_iter().map(|name| (name, text_type())).collect();
            return Ok(Described { parameters, columns: Some(columns) });
        };
        let columns = columns_of_schema(&schema, names)?;
        Ok(Described { parameters, columns: Some(columns) })
    }

    /// A statement in the engine's words.
    fn statement(&self, part: &Part, types: &[i32]) -> Result<Adapted, Refusal> {
        let (mut statement, as_of) = parse(&part.sql).map_err(|error| Refusal::of(error, &part.sql))?;
        let names = names(&statement);
        let empty = known_to_be_empty(&statement);
        let asker = Asker { user: &self.user, process: self.process, settings: &self.settings, types };
        let parameters = adapt(&mut statement, &asker);
        Ok(Adapted { statement, as_of, names, empty, parameters })
    }

    fn tell_columns(&mut self, columns: Option<&[(String, ColumnType)]>, formats: &[i16]) -> Result<(), Fault> {
        match columns {
            None => self.line.outbox.no_data(),
            Some(columns) => {
                let column = |(number, (name, of)): (usize, &(String, ColumnType))| Column {
                    name: name.clone(),
                    oid: of.oid(),
                    length: of.length(),
                    binary: format_of(formats, number) == 1,
                };
                let columns: Vec<Column> = columns.iter().enumerate().map(column).collect();
                self.line.outbox.columns(&columns);
            }
        }
        Ok(())
    }

    /// In a transaction that failed nothing is done before it is over.
    fn allowed(&self, part: Option<&Part>) -> Result<(), Refusal> {
        let command = part.and_then(|part| part.command.as_ref());
        let ends = matches!(command, Some(Command::Commit | Command::Rollback | Command::RollbackTo));
        match self.transaction {
            Transaction::Failed if !ends => {
                Err(Refusal::new("25P02", "the transaction failed: nothing is done before ROLLBACK"))
            }
            _ => Ok(()),
        }
    }

    /// Answers a portal, up to a number of rows.
    async fn execute(&mut self, portal: &mut Portal, most: Option<usize>, describe: bool) -> Result<(), Fault> {
        let Some(part) = portal.part.clone() else {
            self.line.outbox.empty();
            return Ok(());
        };
        let done = async {
            if matches!(portal.state, State::New) {
                self.allowed(Some(&part))?;
                // A request to cancel what came before is not for this.
                self.line.cancelled.mark_unchanged();
                if !self.begin(portal, &part, describe).await? {
                    return Ok(());
                }
            }
            self.send(portal, most).await
        };
        let done: Result<(), Fault> = done.await;
        match &done {
            Ok(()) => {}
            Err(Fault::Refused(refusal)) => self.finish(portal, Some(refusal)).await,
            Err(Fault::Over(_)) => self.finish(portal, None).await,
        }
        done
    }

    /// Has a question recorded and begins its answer; false when it is answered already.
    async fn begin(&mut self, portal: &mut Portal, part: &Part, describe: bool) -> Result<bool, Fault> {
        let question = self.question(part.sql.trim(), portal.shown.clone(), part.command.is_some());
        self.record(&question).await?;
        let started = self.rows(part, portal.parameters.clone(), portal.types.clone()).await;
        let (rows, columns, tag) = match started {
            Ok(started) => started,
            Err(fault) => {
                let ending = match &fault {
                    Fault::Refused(refusal) => refused(refusal),
                    Fault::Over(_) => Ending::Left,
                };
                self.outcome(&question, Outcome { rows: 0, bytes: 0, versions: None, ending }).await;
                return Err(fault);
            }
        };
        let Some(rows) = rows else {
            let ending = Ending::Complete;
            self.outcome(&question, Outcome { rows: 0, bytes: 0, versions: None, ending }).await;
            portal.state = State::Done;
            self.line.outbox.complete(&tag);
            return Ok(false);
        };
        // What was described before is what is sent: a client reads rows by it.
        let columns = portal.columns.get_or_insert(columns).clone();
        if describe {
            self.tell_columns(Some(&columns), &portal.formats)?;
        }
        let format = |(number, (_, of)): (usize, &(String, ColumnType))| (*of, format_of(&portal.formats, number) == 1);
        let versions = match &rows {
            Rows::Ledger(stream) => Some(stream.versions()),
            Rows::Session(_) => None,
        };
        portal.state = State::Running(Box::new(Running {
            question,
            rows,
            columns: columns.iter().enumerate().map(format).collect(),
            batch: (Vec::new(), 0, 0),
            sent: 0,
            bytes: 0,
            versions,
            until: self.settings.time().and_then(|time| Instant::now().checked_add(time)),
        }));
        Ok(true)
    }

    /// The rows of a statement with their columns; none, and what was done, for one that has no rows at all.
    async fn rows(
        &mut self,
        part: &Part,
        parameters: Vec<ScalarValue>,
        types: Vec<i32>,
    ) -> Result<(Option<Rows>, Vec<(String, ColumnType)>, String), Fault> {
        if let Some(command) = &part.command {
            let (tag, rows) = self.command(command.clone()).await?;
            let columns = columns_of_command(command).unwrap_or_default();
            return Ok((rows.map(|rows| Rows::Session(Some(rows))), columns, tag));
        }
        let Adapted { statement, as_of, names, empty, .. } = self.statement(part, &types)?;
        let bounds = Bounds { time: self.settings.time(), rows: self.shared.wire.bounds.rows };
        let engine = self.shared.wire.engine.clone();
        // What was set is a state: SET refuses everything else. What the statement says itself goes before it.
        let set = || self.settings.get("custody.as_of").and_then(|state| state.parse().ok());
        let as_of = as_of.or_else(set).unwrap_or_default();
        let answer = self.line.during(async {
            match engine.run(statement, parameters, as_of, bounds).await {
                Ok(stream) => Ok(Some(stream)),
                Err(QueryError::Invalid(_)) if empty.is_some() => Ok(None),
                Err(error) => Err(Refusal::of(error, &part.sql)),
            }
        });
        let Some(stream) = answer.await? else {
            let columns = empty.unwrap_or_default().into_iter().map(|name| (name, text_type())).collect();
            return Ok((Some(Rows::Session(None)), columns, String::new()));
        };
        let columns = columns_of_schema(&stream.schema(), names)?;
        Ok((Some(Rows::Ledger(stream)), columns, String::new()))
    }

    /// Sends rows of a running answer, and ends it with the last.
    async fn send(&mut self, portal: &mut Portal, most: Option<usize>) -> Result<(), Fault> {
        let State::Running(running) = &mut portal.state else {
            // Asked again for an answer that is over.
            self.line.outbox.complete("SELECT 0");
            return Ok(());
        };
        let mut left = most.unwrap_or(usize::MAX);
        loop {
            let (columns, rows, next) = &mut running.batch;
            while *next < *rows {
                if left == 0 {
                    self.line.outbox.suspended();
                    return Ok(());
                }
                let before = self.line.outbox.bytes();
                self.line.outbox.row(columns.len(), |number, out| {
                    let column = columns.get(number).zip(running.columns.get(number));
                    let Some((column, (of, binary))) = column else { return Ok(false) };
                    values::write(column, *next, *of, *binary, out)
                })?;
                (*next, left) = (*next + 1, left - 1);
                running.sent += 1;
                running.bytes += self.line.outbox.bytes() - before;
                if running.bytes > ANSWER_BYTES_MAX {
                    let message = format!("the answer has more than {ANSWER_BYTES_MAX} bytes: ask for less at a time");
                    return Err(Refusal::new("54000", message).into());
                }
                if self.line.outbox.is_full() {
                    self.line.flush().await?;
                }
            }
            let batch = match &mut running.rows {
                Rows::Session(batch) => batch.take(),
                Rows::Ledger(stream) => {
                    let next = async { stream.next().await.transpose().map_err(|error| Refusal::of(error, "")) };
                    self.line.during(next).await?
                }
            };
            let Some(batch) = batch else { break };
            let range = |error: arrow::error::ArrowError| Refusal::new("22003", error.to_string());
            let columns = batch.columns().iter().zip(&running.columns);
            let columns =
                columns.map(|(column, (of, _))| values::canonical(column, *of)).collect::<Result<Vec<_>, _>>();
            running.batch = (columns.map_err(range)?, batch.num_rows(), 0);
        }
        if let Rows::Ledger(stream) = &running.rows
            && stream.truncated()
        {
            let message =
                format!("the answer has more than {} rows: narrow the question, or give it a LIMIT", running.sent);
            return Err(Refusal::new("54000", message).into());
        }
        let tag = match &running.rows {
            Rows::Session(_) if running.question.session_only => "SHOW".to_owned(),
            _ => format!("SELECT {}", running.sent),
        };
        self.finish(portal, None).await;
        self.line.outbox.complete(&tag);
        Ok(())
    }

    /// Lets go of an answer, and records what became of it.
    async fn finish(&mut self, portal: &mut Portal, refusal: Option<&Refusal>) {
        let State::Running(running) = std::mem::replace(&mut portal.state, State::Done) else { return };
        let Running { question, rows, batch, sent, bytes, versions, .. } = *running;
        let whole = match &rows {
            Rows::Ledger(stream) => stream.is_over(),
            Rows::Session(batch) => batch.is_none(),
        };
        let ending = match refusal {
            Some(refusal) => refused(refusal),
            None if whole && batch.2 >= batch.1 => Ending::Complete,
            None => Ending::Left,
        };
        drop(rows);
        self.outcome(&question, Outcome { rows: sent, bytes, versions, ending }).await;
    }

    async fn close_portals(&mut self) {
        for (_, mut portal) in std::mem::take(&mut self.portals) {
            self.finish(&mut portal, None).await;
        }
    }

    /// Does what concerns the session alone: what was done, and rows to show.
    async fn command(&mut self, command: Command) -> Result<(String, Option<RecordBatch>), Fault> {
        let tag = match command {
            Command::Begin => {
                if self.transaction == Transaction::Open {
                    self.line.notice("there is already a transaction in progress");
                }
                self.transaction = Transaction::Open;
                "BEGIN"
            }
            Command::Commit | Command::Rollback => {
                if self.transaction == Transaction::Idle {
                    self.line.notice("there is no transaction in progress");
                }
                let failed = self.transaction == Transaction::Failed;
                self.transaction = Transaction::Idle;
                self.close_portals().await;
                if failed || command == Command::Rollback { "ROLLBACK" } else { "COMMIT" }
            }
            Command::Savepoint(tag) | Command::Listen(tag) => tag,
            Command::RollbackTo => {
                if self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                "ROLLBACK"
            }
            Command::Set(name, value) => {
                if let Some(notice) = self.settings.set(&name, value.as_deref())? {
                    self.line.notice(&notice);
                }
                self.tell_application();
                if value.is_some() { "SET" } else { "RESET" }
            }
            Command::SetTransaction => "SET",
            Command::ResetAll => {
                self.settings.reset();
                self.tell_application();
                "RESET"
            }
            Command::Discard(what) => {
                if what == "ALL" {
                    self.close_portals().await;
                    self.statements.clear();
                    self.settings.reset();
                    self.tell_application();
                }
                return Ok((format!("DISCARD {}", visible(&what)), None));
            }
            Command::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Command::Deallocate(Some(name)) => {
                if self.statements.remove(&name).is_none() {
                    return Err(Refusal::new("26000", format!("prepared statement \"{name}\" does not exist")).into());
                }
                "DEALLOCATE"
            }
            Command::Close(None) => {
                self.close_portals().await;
                "CLOSE CURSOR ALL"
            }
            Command::Close(Some(name)) => {
                let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
                self.finish(&mut portal, None).await;
                "CLOSE CURSOR"
            }
            Command::Show(name) => {
                let (name, value) = self.settings.show(&name)?;
                return Ok(("SHOW".to_owned(), Some(table(&[&name], vec![vec![value]])?)));
            }
            Command::ShowAll => {
                let rows = self.settings.all().into_iter().map(|(name, value)| vec![name, value, String::new()]);
                let rows = table(&["name", "setting", "description"], rows.collect())?;
                return Ok(("SHOW".to_owned(), Some(rows)));
            }
        };
        Ok((tag.to_owned(), None))
    }

    fn tell_application(&mut self) {
        let name = self.settings.get("application_name").unwrap_or_default().to_owned();
        self.line.outbox.parameter("application_name", &name);
    }

    fn question(&self, sql: &str, parameters: Vec<Option<String>>, session_only: bool) -> Question {
        let setting = |name| self.settings.get(name).unwrap_or_default().to_owned();
        Question {
            id: self.shared.questions.fetch_add(1, Ordering::Relaxed),
            user: self.user.clone(),
            application_name: setting("application_name"),
            peer: self.peer,
            sql: sql.to_owned(),
            parameters,
            session_only,
            as_of: setting("custody.as_of"),
        }
    }

    async fn record(&mut self, question: &Question) -> Result<(), Refusal> {
        self.shared.wire.recorder.asked(question).await.map_err(|error| {
            tracing::error!(%error, "a question could not be recorded, and is not answered");
            Refusal::new("58000", "the question could not be recorded, and is not answered")
        })
    }

    async fn outcome(&mut self, question: &Question, outcome: Outcome) {
        self.shared.wire.recorder.answered(question, &outcome).await;
    }

    /// Records an attempt that got no further than being read.
    async fn record_refused(
        &mut self,
        sql: &str,
        parameters: Vec<Option<String>>,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        let question = self.question(sql, parameters, false);
        self.record(&question).await?;
        self.outcome(&question, Outcome { rows: 0, bytes: 0, versions: None, ending: refused(refusal) }).await;
        Ok(())
    }
}

impl Portal {
    fn new(part: Option<Part>, parameters: Vec<ScalarValue>, shown: Vec<Option<String>>, formats: Vec<i16>) -> Self {
        Self { part, parameters, types: Vec::new(), shown, formats, columns: None, state: State::New, bytes: 0 }
    }

    /// Whether its answer should have been taken by now.
    fn is_late(&self) -> bool {
        match &self.state {
            State::Running(running) => running.until.is_some_and(|until| until <= Instant::now()),
            _ => false,
        }
    }
}

fn refused(refusal: &Refusal) -> Ending {
    Ending::Refused { code: refusal.code, message: refusal.message.clone() }
}

fn no_portal(name: &str) -> Refusal {
    Refusal::new("34000", format!("portal \"{name}\" does not exist"))
}

/// The format of a value: one for each, one for all, or text.
fn format_of(formats: &[i16], number: usize) -> i16 {
    match formats {
        [all] => *all,
        each => each.get(number).copied().unwrap_or_default(),
    }
}

fn text_type() -> ColumnType {
    types::of_arrow(&DataType::Utf8)
}

fn columns_of_command(command: &Command) -> Option<Vec<(String, ColumnType)>> {
    let names: &[&str] = match command {
        Command::Show(name) => &[name.as_str()],
        Command::ShowAll => &["name", "setting", "description"],
        _ => return None,
    };
    Some(names.iter().map(|name| ((*name).to_owned(), text_type())).collect())
}

/// Columns under the names that PostgreSQL would give them, where those are known.
fn columns_of_schema(schema: &SchemaRef, names: Names) -> Result<Vec<(String, ColumnType)>, Refusal> {
    let fields = schema.fields();
    if fields.len() > COLUMNS_MAX {
        return Err(Refusal::new("54011", format!("an answer has at most {COLUMNS_MAX} columns")));
    }
    let names = names.of(fields.iter().map(|field| field.name().clone()).collect());
    Ok(names.into_iter().zip(fields).map(|(name, field)| (name, types::of_arrow(field.data_type()))).collect())
}

/// Rows of texts.
fn table(names: &[&str], rows: Vec<Vec<String>>) -> Result<RecordBatch, Refusal> {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let column = |number: usize| {
        let texts: StringArray = rows.iter().map(|row| row.get(number).map(String::as_str)).collect();
        Arc::new(texts) as ArrayRef
    };
    let columns = (0..names.len()).map(column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Refusal::new("XX000", error.to_string()))
}
