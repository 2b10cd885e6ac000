//! The week that the demo tells, as Teleport, Boundary, hoop and OPA saw it.
//!
//! [`messages`] is pure: the same instant and the same recordings give the same bytes. What must be found in it, by the
//! numbers of the story:
//!
//! | # | what happens | finding |
//! |---|---|---|
//! | S1 | Alice asks, Bob approves after 4 min, she works 22 min inside the window | none |
//! | S2 | Alice asks, Carol and Bob approve, two database sessions and one SSH session | none |
//! | S3 | Dave opens prod-web-01 without a request | no request, standing access, vendor |
//! | S4 | Bob sets the state of his own request to approved | self-approval |
//! | S5 | Dave's request is approved 7 min after his session began | retroactive approval |
//! | S6 | Alice's session ends 3 h after the approved window | outside the window |
//! | S7 | Erin has a session on day 4; she left on day 3, 12:00 | leaver |
//! | S8 | at 02:10 OPA allows Alice with INC-78901, and she takes the decision's id along through Boundary | none |
//! | S9 | OPA denies Dave, 12 min later he gets in through Teleport | denied, then got in; no request |
//! | S10 | OPA allows Dave through Boundary at 17:00:00, the next revision denies the same input | drift between revisions |
//! | S11 | Alice asks hoop, Bob approves a window of an hour; a second session in it has no review of its own | none |
//! | S12 | Carol breaks the glass; Bob reviews it next morning | break-glass, reviewed |
//! | S13 | Bob breaks the glass; nobody reviews it | break-glass, unreviewed |
//! | S14 | a request of Dave's is approved and never used | dormant approval |
//! | S15 | the build machine has an interactive session | interactive use of a machine account |
//! | S16 | the recording of S2's SSH session is announced, and is not there | missing recording |
//! | S17 | 90 s of a recording are lost | gap |
//! | S18 | Carol watches S3, Dave watches his own S5 | own session watched |
//! | S19 | Erin gives the reason "test", twice | weak reason |
//! | S21 | Alice is `u_alice0001` at Boundary, by the table of [`CAST`](super::teleport::CAST) | one person |
//! | S22 | the end of S1 is delivered twice, and so is a chunk of decisions | duplicates, counted once |
//! | S23 | the approvals of S2 arrive two hours after its last session | the same answer as in order |
//!
//! The recordings of S8 and S10 are no messages: Boundary stores them as files ([`write_recordings`]). S20, the session
//! that is running now, is told by [`live`](super::live).
//!
//! Besides, some messages cannot be decoded: [`DEAD_LETTERS`] of them.

use std::io;
use std::path::Path;

use custody_ingest::publish::Outgoing;
use custody_schemas::time::{Micros, date_of};
use serde_json::{Value, json};

use super::boundary::{self, Boundary};
use super::bsr::write_recording;
use super::hoop;
use super::opa::{self, Decision, access_input};
use super::scripts::Recording;
pub(super) use super::scripts::Recordings;
use super::teleport::{
    ALICE, AUDIT_TOPIC, BOB, CAROL, CI_BOT, DAVE, ERIN, Event, Ids, PROD_WEB_01, Person, Place, Request, Route,
    SESSIONS_TOPIC, Session, Teleport,
};

const SECOND: Micros = 1_000_000;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
const DAY: Micros = 24 * HOUR;

/// Between an event and its message.
const DELIVERY: Micros = 4 * SECOND;

/// The part of S17's recording that is lost, from the beginning of the session.
const HOLE: std::ops::Range<Micros> = 70 * SECOND..160 * SECOND;

/// Number of messages that cannot be decoded.
pub(super) const DEAD_LETTERS: usize = 9;

const READ_ONLY: &str = "developer-read-only-jit";
const DATABASE_ADMIN: &str = "prod-db-admin";
const BREAK_GLASS: &str = "break-glass-admin";

/// The messages of the week in the order in which they arrive. The week is the last one whose Friday is over.
pub(super) fn messages(now: Micros, recordings: &Recordings) -> Vec<Outgoing> {
    let mut week = Week::told(now, recordings);
    // Stable: what arrives at one instant keeps its order.
    week.deliveries.sort_by_key(|(at, _)| *at);
    week.deliveries.into_iter().map(|(_, message)| message).collect()
}

/// Stores the recordings of Boundary's sessions in a folder, as its workers store them in a bucket.
///
/// # Errors
///
/// When they cannot be written.
pub(super) fn write_recordings(now: Micros, recordings: &Recordings, folder: &Path) -> io::Result<()> {
    for (name, session) in Week::told(now, recordings).boundary_sessions {
        if let Some(recording) = recordings.get(name) {
            write_recording(folder, &session, recording)?;
        }
    }
    Ok(())
}

/// Id of S1, a session worth looking at, in the week that [`messages`] tells.
pub(super) fn example_session(now: Micros) -> String {
    session_id(monday(now), 1)
}

/// Id of S8, a session that OPA let into Boundary.
pub(super) fn boundary_session(now: Micros) -> String {
    format!("s_{}", boundary_key(monday(now), 1))
}

/// What the ids of a week's Boundary session have after their prefix.
fn boundary_key(monday: Micros, number: usize) -> String {
    format!("{:05x}{number:05}", date_of(monday))
}

/// Ids of a week's sessions are counted, and those of another week are others.
fn session_id(monday: Micros, number: u64) -> String {
    format!("{:08x}-5e55-4000-8000-{number:012x}", date_of(monday))
}

/// The Monday of the last week whose Friday is over, as an instant.
pub(super) fn monday(now: Micros) -> Micros {
    let day = date_of(now) - 5;
    // The first day of 1970 was a Thursday.
    Micros::from(day - (day + 3).rem_euclid(7)) * DAY
}

/// A time of day.
fn clock(hour: Micros, minute: Micros, second: Micros) -> Micros {
    hour * HOUR + minute * MINUTE + second * SECOND
}

/// What the recording of a session becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// All of it arrives.
    Whole(Route),
    /// Output in the [`HOLE`] does not.
    WithHole(Route),
    /// Nothing arrives.
    Lost,
}

struct Week<'a> {
    monday: Micros,
    recordings: &'a Recordings,
    teleport: Teleport,
    /// Number of sessions so far.
    sessions: u64,
    /// Sessions whose recording somebody watches: S3 and S5.
    watched: [String; 2],
    boundary: Boundary,
    /// Sessions through Boundary so far, with the names of their recordings.
    boundary_sessions: Vec<(&'static str, boundary::Session)>,
    /// When each message arrives.
    deliveries: Vec<(Micros, Outgoing)>,
}

impl<'a> Week<'a> {
    fn new(now: Micros, recordings: &'a Recordings) -> Self {
        let monday = monday(now);
        let space = date_of(monday).unsigned_abs();
        let teleport = Teleport { ids: Ids::Counted { space, last: 0 } };
        Self {
            monday,
            recordings,
            teleport,
            sessions: 0,
            watched: Default::default(),
            boundary: Boundary { space, last: 0 },
            boundary_sessions: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// The whole week.
    fn told(now: Micros, recordings: &'a Recordings) -> Self {
        let mut week = Self::new(now, recordings);
        week.logins();
        week.requested_sessions();
        week.sessions_without_request();
        week.break_glass();
        week.lost_recordings();
        week.watched_recordings();
        week.decisions();
        week.reviewed_by_the_gateway();
        week.dead_letters();
        week
    }

    fn next_session_id(&mut self) -> String {
        self.sessions += 1;
        session_id(self.monday, self.sessions)
    }

    /// An instant of the week; its first day is 1.
    fn at(&self, day: Micros, clock: Micros) -> Micros {
        self.monday + (day - 1) * DAY + clock
    }

    fn tell(&mut self, event: &Event) {
        self.deliveries.push((event.at + DELIVERY, event.to_audit()));
    }

    /// A request is made, and expires.
    fn ask(
        &mut self,
        person: &'static Person,
        role: &'static str,
        reason: &'static str,
        asked_at: Micros,
        valid: Micros,
    ) -> Request {
        let id = self.teleport.ids.next();
        let request = Request { id, person, role, reason, asked_at, expires_at: asked_at + valid };
        let events = [self.teleport.request_created(&request), self.teleport.request_expired(&request)];
        events.iter().for_each(|event| self.tell(event));
        request
    }

    /// The one vote that a request needs, `after` it was made; then its roles are taken on.
    fn approve(&mut self, request: &Request, reviewer: &Person, after: Micros) {
        let at = request.asked_at + after;
        let events = [
            self.teleport.request_reviewed(at, request, reviewer, "APPROVED", "ok"),
            self.teleport.certificate(at + 20 * SECOND, request),
        ];
        events.iter().for_each(|event| self.tell(event));
    }

    /// A session at a terminal, with the recording of that name.
    fn work(
        &mut self,
        (name, stream): (&str, Stream),
        person: &'static Person,
        place: Place,
        request: Option<&Request>,
        (started_at, length): (Micros, Micros),
    ) -> Session {
        let session = Session {
            id: self.next_session_id(),
            person,
            place,
            requests: request.into_iter().map(|request| request.id.clone()).collect(),
            started_at,
            ended_at: started_at + length,
        };
        let recording = self.recordings.get(name);
        let size = recording.map_or((100, 30), |recording| recording.size);
        let started = self.teleport.session_started(&session, size);
        let recorded = recording.map(|recording| self.teleport.recorded(&session, recording)).unwrap_or_default();
        let index = i64::try_from(recorded.len()).unwrap_or(i64::MAX - 2) + 1;
        let [left, data] = self.teleport.session_left(&session, index, recording.map_or(0, Recording::output_len));
        let ended = self.teleport.session_ended(&session, index + 1);
        let uploaded = self.teleport.session_uploaded(&session);

        for event in [&started, &left, &data, &ended, &uploaded] {
            self.tell(event);
        }
        if name == "S1" {
            self.deliveries.push((ended.at + 2 * DELIVERY, ended.to_audit()));
        }
        let (route, hole) = match stream {
            Stream::Whole(route) => (route, 0..0),
            Stream::WithHole(route) => (route, session.started_at + HOLE.start..session.started_at + HOLE.end),
            Stream::Lost => return session,
        };
        let is_print = |event: &Event| event.value.get("event").and_then(Value::as_str) == Some("print");
        let all = [started].into_iter().chain(recorded).chain([left, ended]);
        for event in all.filter(|event| !(is_print(event) && hole.contains(&event.at))) {
            self.deliveries.push((uploaded.at + 5 * DELIVERY, event.to_session(&session.id, route)));
        }
        session
    }

    /// A database session with its queries, evenly spread.
    fn query(&mut self, request: &Request, (started_at, length): (Micros, Micros), queries: &[&str]) -> Session {
        let session = Session {
            id: self.next_session_id(),
            person: request.person,
            place: Place::Database,
            requests: vec![request.id.clone()],
            started_at,
            ended_at: started_at + length,
        };
        let mut events = vec![self.teleport.session_started(&session, (0, 0))];
        let step = length / (queries.len() as Micros + 1);
        for (index, query) in (1..).zip(queries) {
            events.push(self.teleport.queried(started_at + index * step, &session, index, query));
        }
        events.push(self.teleport.session_ended(&session, queries.len() as i64 + 1));
        let uploaded = self.teleport.session_uploaded(&session);
        for event in &events {
            self.tell(event);
            self.deliveries.push((uploaded.at + 5 * DELIVERY, event.to_session(&session.id, Route::Key)));
        }
        self.tell(&uploaded);
        session
    }

    /// A session through Boundary: the client asks for it as soon as the policy has allowed it, and sends the decision's
    /// id along. Somebody asks how it stands while it is open, and when it is over.
    fn through_boundary(&mut self, name: &'static str, person: &'static Person, decision: &Decision, length: Micros) {
        let connected_at = decision.at + 2 * SECOND + 400_000;
        let session = boundary::Session {
            key: boundary_key(self.monday, self.boundary_sessions.len() + 1),
            person,
            correlation_id: decision.id.clone(),
            authorized_at: decision.at + 180_000,
            connected_at,
            disconnected_at: connected_at + length,
        };
        let mut events = Vec::from(self.boundary.authorized(&session));
        events.extend(self.boundary.connected(&session));
        events.extend(self.boundary.session_read(connected_at + 5 * MINUTE, &session));
        events.push(self.boundary.disconnected(&session));
        events.extend(self.boundary.session_read(session.terminated_at() + 4 * MINUTE, &session));
        self.deliveries.extend(events.iter().map(|event| (event.at + DELIVERY, event.to_message())));
        self.boundary_sessions.push((name, session));
    }

    /// Everyone logs in in the morning.
    fn logins(&mut self) {
        for day in 1..=5 {
            for (person, minute) in [(&ALICE, 41), (&BOB, 47), (&CAROL, 52), (&DAVE, 55), (&ERIN, 58)] {
                if person != &ERIN || day <= 4 {
                    let event = self.teleport.login(self.at(day, clock(8, minute, 7 * day)), person);
                    self.tell(&event);
                }
            }
        }
    }

    /// S1, S2, S4 to S7, S14, S19, S23.
    fn requested_sessions(&mut self) {
        let whole = Stream::Whole(Route::Key);

        let reason = "Investigating dashboard latency in web-app-namespace, JIRA OPS-1412";
        let s1 = self.ask(&ALICE, READ_ONLY, reason, self.at(1, clock(10, 2, 11)), 30 * MINUTE);
        self.approve(&s1, &BOB, 4 * MINUTE);
        self.work(("S1", whole), &ALICE, PROD_WEB_01, Some(&s1), (self.at(1, clock(10, 8, 2)), 22 * MINUTE));

        self.many_sessions();

        let s4 = self.ask(&BOB, READ_ONLY, "OPS-1421 dashboard pod", self.at(2, clock(9, 30, 20)), HOUR);
        let approved = self.teleport.request_set_approved(s4.asked_at + 50 * SECOND, &s4, BOB.user, "");
        let certificate = self.teleport.certificate(s4.asked_at + 70 * SECOND, &s4);
        self.tell(&approved);
        self.tell(&certificate);
        let pod = Place::Pod { name: "dashboard-6f9c7d5b8-4xk2p" };
        self.work(("S4", whole), &BOB, pod, Some(&s4), (self.at(2, clock(9, 35, 4)), 12 * MINUTE));

        // That the session carries a request which was approved later is what an auditor has to be told.
        let s5 = self.ask(&DAVE, READ_ONLY, "OPS-1427 check nginx upstreams", self.at(2, clock(10, 58, 30)), HOUR);
        let start = self.at(2, clock(11, 0, 9));
        let stream = Stream::Whole(Route::Path);
        let session = self.work(("S5", stream), &DAVE, PROD_WEB_01, Some(&s5), (start, 20 * MINUTE));
        self.approve(&s5, &BOB, start + 7 * MINUTE - s5.asked_at);
        let [_, s5_id] = &mut self.watched;
        *s5_id = session.id;

        let s6 = self.ask(&ALICE, READ_ONLY, "OPS-1430 tune worker limits", self.at(2, clock(11, 30, 0)), HOUR);
        self.approve(&s6, &BOB, 4 * MINUTE + 12 * SECOND);
        let start = self.at(2, clock(11, 40, 0));
        self.work(("S6", whole), &ALICE, PROD_WEB_01, Some(&s6), (start, s6.expires_at + 3 * HOUR - start));

        let s7 = self.ask(&ERIN, READ_ONLY, "OPS-1409 hand over dashboards", self.at(4, clock(9, 50, 13)), HOUR);
        self.approve(&s7, &BOB, 4 * MINUTE);
        self.work(("S7", whole), &ERIN, PROD_WEB_01, Some(&s7), (self.at(4, clock(10, 0, 31)), 12 * MINUTE));

        let s14 = self.ask(&DAVE, READ_ONLY, "OPS-1460 check cache headers", self.at(4, clock(14, 0, 44)), HOUR);
        let approved = self.teleport.request_reviewed(s14.asked_at + 6 * MINUTE, &s14, &BOB, "APPROVED", "ok");
        self.tell(&approved);

        for (day, hour) in [(2, 14), (3, 9)] {
            let s19 = self.ask(&ERIN, READ_ONLY, "test", self.at(day, clock(hour, 30, 5)), HOUR);
            self.approve(&s19, &BOB, 2 * MINUTE);
            let time = (self.at(day, clock(hour, 35, 18)), 4 * MINUTE);
            self.work(("S19", whole), &ERIN, PROD_WEB_01, Some(&s19), time);
        }
    }

    /// S2 with two approvers and three sessions, S16 and S23: the SSH session's recording never comes, and the
    /// approvals come two hours after everything else.
    fn many_sessions(&mut self) {
        let request =
            self.ask(&ALICE, DATABASE_ADMIN, "INC-78901 orders stuck", self.at(1, clock(13, 0, 40)), 4 * HOUR);
        let at = request.asked_at;
        let carol = self.teleport.request_reviewed(at + 5 * MINUTE, &request, &CAROL, "PENDING", "incident confirmed");
        let bob = self.teleport.request_reviewed(at + 9 * MINUTE, &request, &BOB, "APPROVED", "go");
        let certificate = self.teleport.certificate(at + 10 * MINUTE, &request);
        self.tell(&certificate);
        self.query(
            &request,
            (self.at(1, clock(13, 12, 0)), 13 * MINUTE),
            &[
                "select id, state, updated_at from orders where state = 'stuck'",
                "select pid, state, query from pg_stat_activity where wait_event_type = 'Lock'",
                "begin",
                "update orders set state = 'queued' where state = 'stuck' and updated_at < now() - interval '1 hour'",
                "commit",
            ],
        );
        let time = (self.at(1, clock(13, 28, 0)), 37 * MINUTE);
        let ssh = self.work(("S2", Stream::Lost), &ALICE, PROD_WEB_01, Some(&request), time);
        let time = (self.at(1, clock(13, 40, 0)), 12 * MINUTE);
        self.query(&request, time, &["select state, count(*) from orders group by state", "analyze orders"]);
        for (event, late) in [(carol, 2 * HOUR), (bob, 2 * HOUR + SECOND)] {
            self.deliveries.push((ssh.ended_at + late, event.to_audit()));
        }
    }

    /// S3, the Teleport part of S9, S15.
    fn sessions_without_request(&mut self) {
        let path = Stream::Whole(Route::Path);
        let time = (self.at(1, clock(15, 0, 27)), 18 * MINUTE);
        let session = self.work(("S3", path), &DAVE, PROD_WEB_01, None, time);
        let [s3_id, _] = &mut self.watched;
        *s3_id = session.id;
        self.work(("S9", path), &DAVE, PROD_WEB_01, None, (self.at(3, clock(2, 52, 0)), 13 * MINUTE));
        self.work(("S15", path), &CI_BOT, PROD_WEB_01, None, (self.at(5, clock(11, 0, 3)), 6 * MINUTE));
    }

    /// S12 and S13. The plugin lets everyone in at once; a person has to look at it afterwards.
    fn break_glass(&mut self) {
        let cases = [
            ("S12", &CAROL, "payment outage INC-79002", self.at(4, clock(21, 15, 8)), 32 * MINUTE),
            ("S13", &BOB, "checkout queue stuck, INC-79044", self.at(5, clock(5, 30, 51)), 25 * MINUTE),
        ];
        for (name, person, reason, at, length) in cases {
            let request = self.ask(person, BREAK_GLASS, reason, at, HOUR);
            let comment = "approved without a review: break-glass";
            let events = [
                self.teleport.request_set_approved(at + 2 * SECOND, &request, "break-glass-plugin", comment),
                self.teleport.certificate(at + 9 * SECOND, &request),
            ];
            events.iter().for_each(|event| self.tell(event));
            let time = (at + 2 * MINUTE, length);
            self.work((name, Stream::Whole(Route::Key)), person, PROD_WEB_01, Some(&request), time);
            if name == "S12" {
                let at = self.at(5, clock(8, 40, 16));
                let comment = "reviewed after the fact: payments restored, INC-79002";
                let review = self.teleport.request_reviewed(at, &request, &BOB, "APPROVED", comment);
                self.tell(&review);
            }
        }
    }

    /// S17. (S16 is a part of S2.)
    fn lost_recordings(&mut self) {
        let request = self.ask(&ALICE, READ_ONLY, "OPS-1433 rotate app.log", self.at(3, clock(13, 0, 2)), HOUR);
        self.approve(&request, &BOB, 3 * MINUTE);
        let stream = Stream::WithHole(Route::Key);
        let time = (self.at(3, clock(13, 10, 0)), 12 * MINUTE);
        self.work(("S17", stream), &ALICE, PROD_WEB_01, Some(&request), time);
    }

    /// S18.
    fn watched_recordings(&mut self) {
        let [s3, s5] = std::mem::take(&mut self.watched);
        let events = [
            self.teleport.recording_watched(self.at(2, clock(10, 15, 22)), &CAROL, &s3),
            self.teleport.recording_watched(self.at(2, clock(15, 30, 49)), &DAVE, &s5),
        ];
        events.iter().for_each(|event| self.tell(event));
    }

    /// What the policy engine decides: S8 and S10 with their sessions, the first part of S9, and everyday decisions of
    /// another policy around them.
    fn decisions(&mut self) {
        let access = |id, at, number, revision, input, result| Decision {
            id,
            at,
            number,
            path: "access/authz/decision",
            revision,
            input,
            result: Some(result),
        };
        let incident = Some(("incident", "INC-78901"));

        let at = self.at(3, clock(2, 10, 0));
        let input = access_input(&ALICE, "prod-web-01-ssh", at, incident);
        let s8 = access(self.teleport.ids.next(), at, 301, opa::REVISION_OLD, input, json!({ "allow": true }));
        self.deliveries.push((at + DELIVERY, opa::single(&s8)));
        self.through_boundary("S8", &ALICE, &s8, 21 * MINUTE);

        let at = self.at(3, clock(2, 40, 0));
        let input = access_input(&DAVE, "prod-web-01", at, None);
        let result = json!({ "allow": false, "violations": ["outside business hours without a ticket"] });
        let s9 = access(self.teleport.ids.next(), at, 302, opa::REVISION_OLD, input, result);

        let at = self.at(3, clock(17, 0, 0));
        let input = access_input(&DAVE, "prod-web-01-ssh", at, None);
        let allow = json!({ "allow": true });
        let s10 = access(self.teleport.ids.next(), at, 318, opa::REVISION_OLD, input.clone(), allow);
        self.deliveries.push((at + DELIVERY, opa::wrapped(&s10)));
        self.through_boundary("S10", &DAVE, &s10, 9 * MINUTE);

        // The same question, asked again when the next revision was rolled out.
        let at = self.at(4, clock(7, 30, 0));
        let result = json!({ "allow": false, "violations": ["outside business hours without a ticket"] });
        let again = access(self.teleport.ids.next(), at, 401, opa::REVISION_NEW, input, result);

        for day in 1..=5 {
            let mut decisions = self.everyday(day);
            match day {
                3 => decisions.push(s9.clone()),
                4 => decisions.push(again.clone()),
                _ => {}
            }
            decisions.sort_by_key(|decision| decision.at);
            let chunk = opa::chunk(&decisions);
            let at = self.at(day, clock(16, 30, 0));
            if day == 3 {
                // The first answer got lost, so the whole chunk is uploaded again.
                self.deliveries.push((at + DELIVERY, chunk.clone()));
            }
            self.deliveries.push((at, chunk));
        }
    }

    /// S11, as somebody polls it.
    fn reviewed_by_the_gateway(&mut self) {
        let started_at = self.at(4, clock(13, 20, 5));
        let approved_at = started_at + 3 * MINUTE + 35 * SECOND;
        let review = hoop::Review { id: self.teleport.ids.next(), reviewer: &BOB, approved_at, window: HOUR };
        let first = hoop::Session {
            id: self.teleport.ids.next(),
            person: &ALICE,
            reason: Some(("OPS-1471 invoices without a VAT rate", "OPS-1471")),
            review: Some(review),
            started_at,
            // The gateway let the client wait until then.
            opened_at: approved_at + 2 * SECOND,
            ended_at: started_at + 21 * MINUTE,
        };
        let started_at = self.at(4, clock(14, 2, 10));
        let later = hoop::Session {
            id: self.teleport.ids.next(),
            person: &ALICE,
            reason: None,
            review: None,
            started_at,
            opened_at: started_at + SECOND,
            ended_at: started_at + 7 * MINUTE,
        };
        for (name, session, minutes) in [("S11", &first, [1, 5, 22, 37].as_slice()), ("S11 later", &later, &[3, 8])] {
            for minute in minutes {
                let at = session.started_at + minute * MINUTE;
                self.deliveries.push((at + DELIVERY, session.polled(at, self.recordings.get(name))));
            }
        }
    }

    /// Decisions of a day that have nothing to do with access to production.
    fn everyday(&mut self, day: Micros) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for (number, hour) in (0..).zip([9, 11, 14, 16]) {
            // Once the policy has no answer.
            let result = (day, number) != (2, 1);
            decisions.push(Decision {
                id: self.teleport.ids.next(),
                at: self.at(day, clock(hour, 3, 10 * day + 1)),
                number: day.unsigned_abs() * 100 + number,
                path: "/orders/api/authz",
                revision: if day < 4 { opa::REVISION_OLD } else { opa::REVISION_NEW },
                input: json!({ "method": "GET", "path": ["orders", 70_400 + number], "subject": "svc-orders" }),
                result: result.then_some(json!(true)),
            });
        }
        decisions
    }

    /// Messages that cannot be decoded.
    fn dead_letters(&mut self) {
        let message = |topic: &str, key: Option<&str>, value: Option<&[u8]>| Outgoing {
            topic: topic.to_owned(),
            key: key.map(|key| key.as_bytes().to_vec()),
            value: value.map(<[u8]>::to_vec),
            ..Outgoing::default()
        };
        let audit = |value: &[u8]| message(AUDIT_TOPIC, None, Some(value));
        let print = |key, data| {
            let print = json!({ "bytes": 2, "ci": 0, "data": data, "ei": 1, "event": "print", "ms": 0, "offset": 0 });
            message(SESSIONS_TOPIC, key, Some(print.to_string().as_bytes()))
        };
        let messages: [Outgoing; DEAD_LETTERS] = [
            audit(br#"{"cluster_name":"prod.example.com","code":"T2000I","ei":0,"event":"session.sta"#),
            audit(b"{\"code\":\"T1000I\",\"event\":\"user.login\",\"user\":\"\xff\xfe\"}"),
            // A tombstone.
            message(AUDIT_TOPIC, Some("compacted"), None),
            print(None, "aGk="),
            print(Some("5e550000-0000-4000-8000-000000000404"), "not base64!"),
            opa::message(b"\x1f\x8b\x08\x00 not a gzip after all".to_vec()),
            opa::message(b"upstream connect error or disconnect/reset before headers".to_vec()),
            message(
                boundary::TOPIC,
                None,
                Some(br#"{"id":"5e55000404","source":"https://hashicorp.com/boundary/controller-0.prod.example/contr"#),
            ),
            // What the poller got from a proxy in front of the API.
            message(hoop::TOPIC, None, Some(br#"{"error":"bad gateway","status":502}"#)),
        ];
        for (minute, message) in (0..).zip(messages) {
            self.deliveries.push((self.at(3, clock(12, minute, 0)), message));
        }
    }
}

#[cfg(test)]
mod tests;
