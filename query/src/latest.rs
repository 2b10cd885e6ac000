//! The latest sessions, found without a look at all others.
//!
//! What a session is follows from all that was said of it, and to put that together for millions takes long. But every part
//! of a session says between which times everything lies that it knows ([`crate::parts`]), and the time at which a session
//! began is in one of its parts: among the sessions whose parts reach the latest are all that began last. The view is asked
//! of these. Where they do not fill the page more are taken, and at last all sessions.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, JoinType, ident, lit};

use crate::engine::Reading;
use crate::error::QueryError;
use crate::functions::is_one_of;
use crate::narrowed::any_of;
use crate::sessions::{
    Cursor, FoundSession, LinkedSession, Session, SessionFilter, Time, at, carries_none, keys_of, latest_first,
};

/// Parts that are taken first, for each session that is wanted.
const PARTS_EACH: usize = 4;

/// Parts that are taken at first, at least.
const PARTS_MIN: usize = 400;

/// Where so many are not enough, all sessions are looked at.
const PARTS_MAX: usize = 30_000;

/// So many times as many are taken the next time.
const PARTS_GROWTH: usize = 8;

/// Where a person or target has more sessions, they are not looked up first: the latest of all will do.
const NAMED_MAX: usize = 5000;

/// Sessions whose links are looked up at first, where it depends on them what is shown, so many times as many next, and so
/// many at once.
const LINKED_FIRST: usize = 200;
const LINKED_GROWTH: usize = 3;
const LINKED_MAX: usize = 2500;

/// All rows of some frames.
pub(crate) fn together(frames: Vec<DataFrame>) -> Result<DataFrame, QueryError> {
    let mut frames = frames.into_iter();
    let first = frames.next().ok_or_else(|| QueryError::Internal("a part without pieces".to_owned()))?;
    Ok(frames.try_fold(first, DataFrame::union)?)
}

/// So many rows of some frames, those with the latest time first. Of each frame they are looked for alone: see
/// [pieces](crate::parts::PartTable::pieces).
pub(crate) fn latest_of(frames: Vec<DataFrame>, time: &str, most: usize) -> Result<DataFrame, QueryError> {
    let first = |rows: DataFrame| rows.sort(vec![ident(time).sort(false, false)])?.limit(0, Some(most));
    let firsts = frames.into_iter().map(first).collect::<Result<Vec<_>, _>>()?;
    Ok(first(together(firsts)?)?)
}

/// Whether one of these names acted in a session, as far as a part of it says.
pub(crate) fn acted(names: &BTreeSet<&str>) -> Expr {
    let is_one = |column| is_one_of(ident(column), names.iter().copied());
    is_one("start_actor").or(is_one("end_actor")).or(is_one("inside_actor"))
}

/// Sessions that reach the latest.
pub(crate) struct Reaching {
    pub(crate) session_ids: BTreeSet<String>,
    /// All that began after this time are among them; without a time all that there are.
    pub(crate) after: Option<Time>,
}

impl Reading {
    /// The first sessions that a filter lets through behind a cursor; `None` where only a look at all of them can tell.
    pub(crate) async fn latest(
        &self,
        filter: &SessionFilter,
        cursor: Option<&Cursor>,
        count: usize,
    ) -> Result<Option<Vec<LinkedSession>>, QueryError> {
        self.latest_among(filter, cursor, count, (PARTS_EACH * count).max(PARTS_MIN)).await
    }

    /// The same, with so many parts at first.
    pub(crate) async fn latest_among(
        &self,
        filter: &SessionFilter,
        cursor: Option<&Cursor>,
        count: usize,
        mut most: usize,
    ) -> Result<Option<Vec<LinkedSession>>, QueryError> {
        // Of those that are linked to one request there may be none among the latest.
        if filter.request_id.is_some() {
            return Ok(None);
        }
        let found = self.found(filter).await?;
        let running = match filter.state.as_deref() {
            Some("running") => self.running().await?,
            _ => None,
        };
        while most <= PARTS_MAX {
            let reaching = self.reaching(filter, found.as_deref(), running.as_ref(), cursor, most).await?;
            let Reaching { session_ids, after } = reaching;
            let ids: Vec<&str> = session_ids.iter().map(String::as_str).collect();
            let mut rows = self.table("sessions", any_of("session_id", &ids)).await?;
            let began_after = after.map(|after| ident("started_at").gt(at(after)));
            let found = found.as_deref().map(keys_of);
            for condition in [filter.of_sessions(cursor), found, began_after].into_iter().flatten() {
                rows = rows.filter(condition)?;
            }
            let rows = rows.sort(latest_first())?;
            let page = if filter.is_of_links() {
                let mut page = Vec::new();
                for some in self.in_blocks(rows).await? {
                    let linked = self.link(Self::values(std::slice::from_ref(&some))?, Some(vec![some])).await?;
                    page.extend(linked.into_iter().filter(|of| filter.meets(&of.links)));
                    if page.len() >= count {
                        break;
                    }
                }
                page.truncate(count);
                page
            } else {
                let rows = self.collect(rows.limit(0, Some(count))?).await?;
                let found: Vec<Session> = Self::values(&rows)?;
                match found.len() >= count || after.is_none() {
                    true => self.link(found, Some(rows)).await?,
                    false => Vec::new(),
                }
            };
            if page.len() >= count || after.is_none() {
                return Ok(Some(page));
            }
            most *= PARTS_GROWTH;
        }
        Ok(None)
    }

    /// Sessions in their order, as many together as are linked at once.
    async fn in_blocks(&self, rows: DataFrame) -> Result<Vec<RecordBatch>, QueryError> {
        let schema = rows.schema().inner().clone();
        let rows = concat_batches(&schema, &self.collect(rows).await?);
        let rows = rows.map_err(|error| QueryError::Internal(error.to_string()))?;
        let (mut blocks, mut at, mut size) = (Vec::new(), 0, LINKED_FIRST);
        while at < rows.num_rows() {
            let block = rows.slice(at, size.min(rows.num_rows() - at));
            at += block.num_rows();
            size = (size * LINKED_GROWTH).min(LINKED_MAX);
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Sessions of the parts that reach the latest, and that a filter may let through.
    pub(crate) async fn reaching(
        &self,
        filter: &SessionFilter,
        found: Option<&[FoundSession]>,
        running: Option<&BTreeSet<String>>,
        cursor: Option<&Cursor>,
        most: usize,
    ) -> Result<Reaching, QueryError> {
        let mut conditions: Vec<Expr> =
            filter.source.iter().map(|source| ident("source").eq(lit(source.as_str()))).collect();
        conditions.extend(self.named(filter.actor.as_deref(), filter.target.as_deref()).await?);
        if let Some(found) = found {
            conditions.push(any_of("session_id", &found.iter().map(|of| of.session_id.as_str()).collect::<Vec<_>>()));
        }
        if let Some(running) = running {
            conditions.push(any_of("session_id", &running.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        let until = [cursor.and_then(Cursor::started_at), filter.to].into_iter().flatten().min();
        let mut within = Vec::new();
        for mut rows in self.parts_within(filter.from, until, filter.is_alone())? {
            for condition in &conditions {
                rows = rows.filter(condition.clone())?;
            }
            within.push(rows.select(vec![ident("session_id"), ident("last")])?);
        }
        let rows = self.collect(latest_of(within, "last", most)?).await?;
        let count: usize = rows.iter().map(|batch| batch.num_rows()).sum();
        let mut reaching = Reaching { session_ids: BTreeSet::new(), after: None };
        let mut earliest = None;
        for batch in &rows {
            reaching.session_ids.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
            let last = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            earliest = last.iter().last().unwrap_or(earliest);
        }
        // What comes after the parts without a time is not known to reach anywhere.
        if count >= most {
            reaching.after = Some(Time(earliest.unwrap_or(i64::MIN)));
        }
        Ok(reaching)
    }

    /// Conditions that all sessions meet of which this is the person and that the target, as far as few are named so.
    pub(crate) async fn named(&self, actor: Option<&str>, target: Option<&str>) -> Result<Vec<Expr>, QueryError> {
        let mut is_named = Vec::new();
        if let Some(actor) = actor {
            let mut names = self.names_of(BTreeSet::from([actor]));
            names.insert(actor);
            is_named.push(acted(&names));
        }
        if let Some(target) = target {
            let columns = ["start_target", "end_target", "any_target"];
            is_named.extend(columns.into_iter().map(|column| ident(column).eq(lit(target))).reduce(Expr::or));
        }
        let mut conditions = Vec::new();
        for any in is_named {
            let named = self.part("session_parts")?.filter(any)?.select(vec![ident("session_id")])?.distinct()?;
            if let Some(named) = self.few(named, NAMED_MAX).await? {
                let ids: BTreeSet<&str> =
                    named.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
                conditions.push(any_of("session_id", &ids.into_iter().collect::<Vec<_>>()));
            }
        }
        Ok(conditions)
    }

    /// Parts, of which every session that began within a time has one: `source`, `session_id` and `last`, the last instant that
    /// a part knows of. Those of sessions that carry requests may be left out. What is kept and what is not is apart.
    pub(crate) fn parts_within(
        &self,
        from: Option<Time>,
        until: Option<Time>,
        is_alone: bool,
    ) -> Result<Vec<DataFrame>, QueryError> {
        let mut within = Vec::new();
        let parts = [
            ("session_parts", "from_at", "till_at", is_alone.then(carries_none)),
            ("recording_parts", "first_at", "last_at", None),
        ];
        for (name, first, last, other) in parts {
            // A part that knows when a session began does not begin later itself.
            let conditions = [
                until.map(|until| ident(first).lt_eq(at(until)).or(ident(first).is_null())),
                from.map(|from| ident(last).gt_eq(at(from))),
                other,
            ];
            for mut rows in self.pieces(name)? {
                for condition in conditions.iter().flatten() {
                    rows = rows.filter(condition.clone())?;
                }
                within.push(rows.select(vec![ident("source"), ident("session_id"), ident(last).alias("last")])?);
            }
        }
        Ok(within)
    }

    /// Among these are all sessions that go on, and those of which a day alone would say so; `None` where they are many. A
    /// session goes on where no part of it knows of an end.
    pub(crate) async fn running(&self) -> Result<Option<BTreeSet<String>>, QueryError> {
        // Of those that are told, a day may know of the beginning alone, and another of the end.
        let told = |condition: Expr| {
            let rows = self.part("session_parts")?.filter(ident("said").and(condition))?;
            let cluster = coalesce(vec![ident("cluster"), lit("")]).alias("place");
            Ok::<_, QueryError>(rows.select(vec![ident("source"), cluster, ident("session_id")])?)
        };
        let keys = ["source", "place", "session_id"];
        let open = told(ident("end_at").is_null().and(ident("imported").is_not_true()))?;
        let open = open.join(told(ident("end_at").is_not_null())?, JoinType::LeftAnti, &keys, &keys, None)?;
        let has_end = ident("has_end").and(ident("last_at").is_not_null());
        let recorded = self.part("recording_parts")?.filter(ident("has_header").and(has_end.is_not_true()))?;
        let mut running = BTreeSet::new();
        for rows in [open, recorded] {
            let ids = rows.select(vec![ident("session_id")])?.distinct()?;
            let Some(ids) = self.few(ids, PARTS_MAX).await? else { return Ok(None) };
            let ids = ids.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
            running.extend(ids.map(str::to_owned));
        }
        Ok(Some(running))
    }
}
