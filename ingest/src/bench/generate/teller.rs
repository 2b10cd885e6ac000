//! What the gateways and the policy engine say of one block of sessions: a pure function of the seed and its number.
//!
//! Keys stand in the order in which each system writes them. What is planted, and how often, is in [`Finding`] and
//! [`Deed`].

use std::fmt;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_schemas::time::Micros;

use super::world::{
    BLOCK_SESSIONS, BREAK_GLASS, DATABASES, HOSTS, HOUR, Host, Id, Instant, MINUTE, PLUGIN, ROLES, Rng, SECOND,
    STANDING, World, bot,
};

/// Actions of a session at Teleport, in the mean: what fills a block up to its thousand events.
const ACTIONS_MEAN: f64 = 52.2;

const CLUSTER: &str = "prod.example.com";
const ORGANISATION: &str = "0a9b1c2d-0000-4000-8000-000000000001";

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Teleport,
    TeleportSessions,
    Boundary,
    Opa,
    Hoop,
}

/// What a message is counted as, besides its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Nothing,
    Session,
    Request,
}

/// One message, in the order of telling, which is not that of time.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) topic: Topic,
    /// When Custody gets it.
    pub(super) at: Micros,
    pub(super) key: Option<&'a str>,
    pub(super) value: &'a str,
    pub(super) counted: Counted,
}

/// What is not as it should be with a request, in ten thousandths of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    None,
    /// The requester sets the state, past the reviewers: 10.
    SelfApproved,
    /// The first session begins before the approval: 50.
    ApprovedLate,
    /// Somebody who has left asks: 5.
    Leaver,
    /// Let in by the plugin, and reviewed later, late or never: 30.
    BreakGlass,
}

impl Finding {
    fn roll(rng: &mut Rng) -> Self {
        match rng.below(10_000) {
            0..10 => Self::SelfApproved,
            10..60 => Self::ApprovedLate,
            60..65 => Self::Leaver,
            65..95 => Self::BreakGlass,
            _ => Self::None,
        }
    }
}

/// What a session at Teleport is, in hundred thousandths of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// One of those that the request is for.
    Asked,
    /// It goes on past the end of the access: 300.
    Overrun,
    /// Somebody with a standing role, without a request: 400.
    Standing,
    /// The same, shortly after the policy engine said no: 50.
    AfterRefusal,
    /// A machine at work: 1500.
    Machine,
    /// Somebody at a terminal as a machine: 50.
    MachineByHand,
}

impl Deed {
    fn roll(rng: &mut Rng) -> Self {
        match rng.below(100_000) {
            0..300 => Self::Overrun,
            300..700 => Self::Standing,
            700..750 => Self::AfterRefusal,
            750..2250 => Self::Machine,
            2250..2300 => Self::MachineByHand,
            _ => Self::Asked,
        }
    }
}

/// A request at Teleport.
struct Request {
    id: Id,
    person: usize,
    role: &'static str,
    asked_at: Micros,
    expires_at: Micros,
}

/// A session at Teleport.
struct Session<'a> {
    user: &'a str,
    /// Account on hosts.
    login: &'a str,
    address: &'a str,
    is_bot: bool,
    is_interactive: bool,
    /// JSON strings.
    roles: &'a str,
    request: Option<Id>,
    started_at: Micros,
    ended_at: Micros,
}

/// Tells the messages of a block of a day.
pub(super) fn tell(world: &World, day: usize, number: u64, told: &mut dyn FnMut(Told<'_>)) {
    let mut teller = Teller {
        world,
        midnight: world.midnight(day),
        rng: Rng::new(world.seed, number),
        session: number * BLOCK_SESSIONS,
        text: String::with_capacity(2048),
        told,
    };
    let requests = 2 + number % 2;
    let mut left = BLOCK_SESSIONS - 2;
    for others in (0..requests).rev() {
        let sessions = if others == 0 { left } else { 1 + teller.rng.below((2 * left / (others + 1)).max(2) - 1) };
        left -= sessions;
        teller.work_under_a_request(sessions);
        teller.request_without_sessions();
    }
    teller.through_boundary();
    teller.through_hoop();
}

struct Teller<'a> {
    world: &'a World,
    midnight: Micros,
    rng: Rng,
    /// Number of the next session.
    session: u64,
    text: String,
    told: &'a mut dyn FnMut(Told<'_>),
}

impl Teller<'_> {
    /// Hands a message over, now and then twice, or beside one that was cut off on its way.
    fn send(&mut self, topic: Topic, at: Micros, key: Option<&str>, counted: Counted, message: fmt::Arguments<'_>) {
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(message);
        let dice = self.rng.next();
        // Mostly within a second or two.
        let at = at + 700 * SECOND / 1000 + Micros::try_from(dice & 0xf_ffff).unwrap_or_default();
        (self.told)(Told { topic, at, key, value: &self.text, counted });
        let dice = (dice >> 20) % 1_000_000;
        if dice < 200 {
            let at = at + 5 * SECOND;
            (self.told)(Told { topic, at, key, value: &self.text, counted: Counted::Nothing });
        } else if dice < 205 && topic == Topic::Teleport {
            let value = self.text.get(..self.text.len() * 3 / 5).unwrap_or_default();
            (self.told)(Told { topic, at, key, value, counted: Counted::Nothing });
        }
    }

    fn audit(&mut self, at: Micros, message: fmt::Arguments<'_>) {
        self.send(Topic::Teleport, at, None, Counted::Nothing, message);
    }

    /// A time of the day, mostly one at which people work.
    fn clock(&mut self) -> Micros {
        let clock = match self.rng.below(25) {
            0 => self.rng.within(23 * HOUR),
            _ => 7 * HOUR + self.rng.within(5 * HOUR) + self.rng.within(5 * HOUR),
        };
        // What is told of the time before stays on the same day.
        self.midnight + clock + 30 * MINUTE
    }

    /// How long a session lasts: minutes, or hours.
    fn length(&mut self) -> Micros {
        (3 * MINUTE + self.rng.waiting(25 * MINUTE)).min(6 * HOUR)
    }

    /// How much is done in a session. The numbers of sessions that follow one another are spread evenly over the
    /// distribution, so that their sum is what it should be also where there are few.
    fn actions(&mut self) -> u64 {
        let evenly = (self.session as f64 * 0.618_033_988_749_895 + self.world.seed as f64 * 0.1).fract();
        self.session += 1;
        (-(1.0 - evenly).ln() * ACTIONS_MEAN).round().max(1.0) as u64
    }

    fn reason(&mut self) -> String {
        const WHAT: [&str; 12] = [
            "Investigating latency of the dashboard",
            "Restarting a stuck consumer",
            "Rotating certificates",
            "Checking replication lag",
            "Rolling out the new configuration",
            "Cleaning up old log files",
            "Analysing a memory leak",
            "Verifying the backup",
            "Correcting an order by hand",
            "Updating packages",
            "Tracing failed payments",
            "Resizing a volume",
        ];
        let what = self.rng.one_of(&WHAT, "Maintenance");
        match self.rng.below(1000) {
            0..5 => self.rng.one_of(&["test", "debugging", "please", "asap", "x", "fix"], "test").to_owned(),
            5..35 => format!("{what} on {}", Host(self.rng.below(HOSTS))),
            _ => format!("{what}, OPS-{}", 1000 + self.rng.below(90_000)),
        }
    }

    fn work_under_a_request(&mut self, sessions: u64) {
        let world = self.world;
        let finding = Finding::roll(&mut self.rng);
        let asked_at = self.clock();
        let leaver = if finding == Finding::Leaver { world.leaver(&mut self.rng, asked_at) } else { None };
        let person = leaver.unwrap_or_else(|| world.active(&mut self.rng, asked_at));
        let role = match finding {
            Finding::BreakGlass => BREAK_GLASS,
            _ => self.rng.one_of(&ROLES, BREAK_GLASS),
        };
        let lifetime = if sessions > 6 { 8 + self.rng.below(5) } else { 2 + self.rng.below(7) };
        let lifetime = Micros::try_from(lifetime).unwrap_or_default() * HOUR;
        let request = Request { id: self.rng.id(), person, role, asked_at, expires_at: asked_at + lifetime };
        let (user, address) = (&world.person(person).user, &world.person(person).address);
        let uid = self.rng.id();
        let (at, port) = (asked_at - 2 * MINUTE - self.rng.within(20 * MINUTE), 40_000 + self.rng.below(20_000));
        self.audit(at, format_args!(
            r#"{{"addr.remote":"{address}:{port}","cluster_name":"{CLUSTER}","code":"T1001I","ei":0,"event":"user.login","method":"oidc","success":true,"time":"{}","uid":"{uid}","user":"{user}","user_agent":"tsh/18.2.0","user_cluster_name":"{CLUSTER}","user_kind":1,"user_roles":[{}]}}"#,
            Instant(at), world.person(person).roles,
        ));
        let reason = match finding {
            Finding::BreakGlass => format!("payment outage INC-{}", 10_000 + self.rng.below(80_000)),
            _ => self.reason(),
        };
        self.create(&request, &reason);

        let latency = (MINUTE + self.rng.waiting(20 * MINUTE)).min(lifetime / 3);
        let approved_at = match finding {
            Finding::SelfApproved => {
                self.update(&request, asked_at + 50 * SECOND, user);
                asked_at + 50 * SECOND
            }
            Finding::BreakGlass => {
                self.update(&request, asked_at + 2 * SECOND, PLUGIN);
                asked_at + 2 * SECOND
            }
            Finding::ApprovedLate => self.approve(&request, latency.max(10 * MINUTE)),
            Finding::None | Finding::Leaver => self.approve(&request, latency),
        };
        let (uid, at) = (self.rng.id(), approved_at + 20 * SECOND);
        let Request { id, expires_at, .. } = request;
        self.audit(at, format_args!(
            r#"{{"cert_type":"user","cluster_name":"{CLUSTER}","code":"TC000I","ei":0,"event":"cert.create","identity":{{"access_requests":["{id}"],"client_ip":"{address}","expires":"{}","roles":[{},"{role}"],"route_to_cluster":"{CLUSTER}","teleport_cluster":"{CLUSTER}","user":"{user}"}},"time":"{}","uid":"{uid}"}}"#,
            Instant(expires_at), world.person(person).roles, Instant(at),
        ));
        let mut used_until = approved_at;
        for number in 0..sessions {
            let is_early = number == 0 && finding == Finding::ApprovedLate;
            let started_at = match is_early {
                true => asked_at + MINUTE,
                false => approved_at + MINUTE + self.rng.within((expires_at - approved_at) / 10 * 7),
            };
            match Deed::roll(&mut self.rng) {
                _ if is_early => self.asked_for(&request, started_at, expires_at),
                Deed::Asked => self.asked_for(&request, started_at, expires_at),
                Deed::Overrun => {
                    let over = 20 * MINUTE + self.rng.within(3 * HOUR);
                    used_until = used_until.max(expires_at + over);
                    self.session_of(&request, started_at, expires_at + over);
                }
                deed => self.unasked(deed, started_at),
            }
        }
        self.expire(&request);
        if finding == Finding::BreakGlass {
            // The use is over at the latest when the access is.
            self.review_afterwards(&request, used_until.max(expires_at));
        }
    }

    /// A request that is denied, that nobody decides on, or that is approved and not used.
    fn request_without_sessions(&mut self) {
        let kind = self.rng.below(1000);
        if kind >= 50 {
            return;
        }
        let world = self.world;
        let asked_at = self.clock();
        let person = world.anyone(&mut self.rng, asked_at);
        let role = self.rng.one_of(&ROLES, STANDING);
        let request = Request { id: self.rng.id(), person, role, asked_at, expires_at: asked_at + 4 * HOUR };
        let reason = self.reason();
        self.create(&request, &reason);
        let latency = (2 * MINUTE + self.rng.waiting(20 * MINUTE)).min(2 * HOUR);
        match kind {
            0..25 => {
                let by = world.approver(&mut self.rng, person, None);
                self.review(&request, asked_at + latency, by, "DENIED", "DENIED", "not without a change");
            }
            25..40 => {}
            _ => {
                self.approve(&request, latency);
            }
        }
        self.expire(&request);
    }

    fn create(&mut self, request: &Request, reason: &str) {
        let Request { id, person, role, asked_at, expires_at } = request;
        let (person, uid) = (self.world.person(*person), self.rng.id());
        self.send(Topic::Teleport, *asked_at, None, Counted::Request, format_args!(
            r#"{{"cluster_name":"{CLUSTER}","code":"T5000I","ei":0,"event":"access_request.create","expires":"{}","id":"{id}","max_duration":"{}","reason":"{reason}","roles":["{role}"],"state":"PENDING","time":"{}","uid":"{uid}","user":"{}","user_cluster_name":"{CLUSTER}","user_kind":1,"user_roles":[{}]}}"#,
            Instant(*expires_at), Instant(*expires_at), Instant(*asked_at), person.user, person.roles,
        ));
    }

    /// The vote that a request needs, or in one of ten cases both. Returns when it was approved.
    fn approve(&mut self, request: &Request, latency: Micros) -> Micros {
        let (world, approved_at) = (self.world, request.asked_at + latency);
        let mut first = None;
        if self.rng.below(10) == 0 {
            let by = world.approver(&mut self.rng, request.person, None);
            self.review(request, request.asked_at + latency / 2, by, "APPROVED", "PENDING", "confirmed");
            first = Some(by);
        }
        let by = world.approver(&mut self.rng, request.person, first);
        self.review(request, approved_at, by, "APPROVED", "APPROVED", "ok");
        approved_at
    }

    fn review(&mut self, request: &Request, at: Micros, by: usize, vote: &str, state: &str, comment: &str) {
        let Request { id, expires_at, .. } = request;
        let (by, uid) = (&self.world.person(by).user, self.rng.id());
        self.audit(at, format_args!(
            r#"{{"cluster_name":"{CLUSTER}","code":"T5002I","ei":0,"event":"access_request.review","expires":"{}","id":"{id}","proposed_state":"{vote}","reason":"{comment}","reviewer":"{by}","state":"{state}","time":"{}","uid":"{uid}"}}"#,
            Instant(*expires_at), Instant(at),
        ));
    }

    fn update(&mut self, request: &Request, at: Micros, by: &str) {
        let (Request { id, expires_at, .. }, uid) = (request, self.rng.id());
        self.audit(at, format_args!(
            r#"{{"cluster_name":"{CLUSTER}","code":"T5001I","ei":0,"event":"access_request.update","expires":"{}","id":"{id}","state":"APPROVED","time":"{}","uid":"{uid}","updated_by":"{by}"}}"#,
            Instant(*expires_at), Instant(at),
        ));
    }

    fn expire(&mut self, request: &Request) {
        let (Request { id, expires_at, .. }, uid) = (request, self.rng.id());
        self.audit(*expires_at, format_args!(
            r#"{{"cluster_name":"{CLUSTER}","code":"T5005I","ei":0,"event":"access_request.expire","expires":"{0}","expiry":"{0}","id":"{id}","time":"{0}","uid":"{uid}"}}"#,
            Instant(*expires_at),
        ));
    }

    /// Somebody looks at an emergency: in time, late, or nobody does.
    fn review_afterwards(&mut self, request: &Request, over_at: Micros) {
        let after = match self.rng.below(100) {
            0..10 => return,
            10..15 => 26 * HOUR + self.rng.within(30 * HOUR),
            _ => HOUR + self.rng.within(19 * HOUR),
        };
        let by = self.world.approver(&mut self.rng, request.person, None);
        self.review(request, over_at + after, by, "APPROVED", "APPROVED", "justified");
    }

    fn asked_for(&mut self, request: &Request, started_at: Micros, expires_at: Micros) {
        let ended_at = (started_at + self.length()).min(expires_at - MINUTE);
        self.session_of(request, started_at, ended_at);
    }

    fn session_of(&mut self, request: &Request, started_at: Micros, ended_at: Micros) {
        let person = self.world.person(request.person);
        let roles = format!(r#"{},"{}""#, person.roles, request.role);
        let session = Session {
            user: &person.user,
            // An account of many is a finding too.
            login: if self.rng.below(500) == 0 { "root" } else { &person.login },
            address: &person.address,
            is_bot: false,
            is_interactive: true,
            roles: &roles,
            request: Some(request.id),
            started_at,
            ended_at,
        };
        match request.role.contains("db") {
            true => self.database(&session),
            false => {
                let host = Host(self.rng.below(HOSTS));
                self.ssh(&session, &host);
            }
        }
    }

    /// A session that no request is for.
    fn unasked(&mut self, deed: Deed, started_at: Micros) {
        let ended_at = started_at + self.length();
        let world = self.world;
        let host = Host::of_production(&mut self.rng);
        if matches!(deed, Deed::Machine | Deed::MachineByHand) {
            let (user, is_interactive) = (bot(&mut self.rng), deed == Deed::MachineByHand);
            return self.ssh(
                &Session {
                    user: &user,
                    login: "deploy",
                    address: "203.0.113.251",
                    is_bot: true,
                    is_interactive,
                    roles: r#""bot-deploy""#,
                    request: None,
                    started_at,
                    ended_at,
                },
                &host,
            );
        }
        let number = world.anyone(&mut self.rng, started_at);
        let person = world.person(number);
        if deed == Deed::AfterRefusal {
            // A quarter of an hour before the session at the most, and some minutes at the least.
            let at = started_at - 3 * MINUTE - self.rng.within(12 * MINUTE);
            let (id, host) = (self.rng.id(), host.to_string());
            self.decide(id, at, number, &host, None);
        }
        let roles = format!(r#"{},"{STANDING}""#, person.roles);
        let session = Session {
            user: &person.user,
            login: &person.login,
            address: &person.address,
            is_bot: false,
            is_interactive: true,
            roles: &roles,
            request: None,
            started_at,
            ended_at,
        };
        self.ssh(&session, &host);
    }

    fn ssh(&mut self, session: &Session<'_>, host: &Host) {
        let actions = self.actions();
        let &Session { user, login, address, is_interactive, roles, started_at, ended_at, .. } = session;
        let (sid, uid, port) = (self.rng.id(), self.rng.id(), 40_000 + self.rng.below(20_000));
        let asked = Asked(session.request);
        let kind = if session.is_bot { 2 } else { 1 };
        let is_recorded = host.is_production();
        // One that is not recorded tells no size of its terminal, and has no place for its end in a recording.
        let (mode, size) = if is_recorded { ("node", r#","size":"120:40""#) } else { ("off", "") };
        self.send(Topic::Teleport, started_at, None, Counted::Session, format_args!(
            r#"{{{asked}"addr.remote":"{address}:{port}","cluster_name":"{CLUSTER}","code":"T2000I","ei":0,"event":"session.start","login":"{login}","namespace":"default","proto":"ssh","server_hostname":"{host}","server_labels":{{"env":"{}","hostname":"{host}"}},"server_version":"18.2.0","session_recording":"{mode}","sid":"{sid}"{size},"time":"{}","uid":"{uid}","user":"{user}","user_cluster_name":"{CLUSTER}","user_kind":{kind},"user_roles":[{roles}]}}"#,
            if is_recorded { "prod" } else { "app" }, Instant(started_at),
        ));
        // Of a recording its pieces have the first places in the stream.
        let pieces = if is_recorded { 2 + self.rng.below(2) } else { 0 };
        let step = (ended_at - started_at) / (Micros::try_from(actions).unwrap_or(1) + 1);
        let mut at = started_at;
        for index in 1 + pieces..1 + pieces + actions {
            at += step / 2 + self.rng.within(step);
            let uid = self.rng.id();
            let (path, argv) = self.rng.one_of(&COMMANDS, ("/usr/bin/ls", r#""-l""#));
            let (number, pid) = (self.rng.below(2000), 1000 + self.rng.below(60_000));
            let code = if self.rng.below(30) == 0 { 1 } else { 0 };
            self.audit(at.min(ended_at), format_args!(
                r#"{{{asked}"argv":[{argv},"/srv/app-{number}"],"cluster_name":"{CLUSTER}","code":"T4000I","ei":{index},"event":"session.command","login":"{login}","path":"{path}","pid":{pid},"return_code":{code},"server_hostname":"{host}","sid":"{sid}","time":"{}","uid":"{uid}","user":"{user}","user_kind":{kind}}}"#,
                Instant(at.min(ended_at)),
            ));
        }
        if self.is_open() {
            return;
        }
        let uid = self.rng.id();
        let last = Last(is_recorded.then_some(1 + pieces + actions));
        self.audit(ended_at, format_args!(
            r#"{{{asked}"addr.remote":"{address}:{port}","cluster_name":"{CLUSTER}","code":"T2004I",{last}"enhanced_recording":true,"event":"session.end","interactive":{is_interactive},"login":"{login}","namespace":"default","participants":["{user}"],"proto":"ssh","server_hostname":"{host}","session_recording":"{mode}","session_start":"{}","session_stop":"{1}","sid":"{sid}","time":"{1}","uid":"{uid}","user":"{user}","user_cluster_name":"{CLUSTER}","user_kind":{kind},"user_roles":[{roles}]}}"#,
            Instant(started_at), Instant(ended_at),
        ));
        if !is_recorded {
            return;
        }
        let (uid, at) = (self.rng.id(), ended_at + 3 * SECOND);
        self.audit(at, format_args!(
            r#"{{"cluster_name":"{CLUSTER}","code":"T2005I","ei":2147483647,"event":"session.upload","sid":"{sid}","time":"{}","uid":"{uid}","url":"s3://recordings.example.com/{sid}.tar"}}"#,
            Instant(at),
        ));
        // One of two hundred is announced, and never comes.
        if self.rng.below(200) != 0 {
            self.recording(sid, user, host, pieces, (started_at, at));
        }
    }

    /// The output of a recorded session, which is streamed when it has been stored.
    fn recording(&mut self, sid: Id, user: &str, host: &Host, pieces: u64, (started_at, stored_at): (Micros, Micros)) {
        let (key, mut offset) = (sid.to_string(), 0);
        for index in 0..pieces {
            let output = match index {
                0 => format!("Welcome to {host}\r\n{user}@{host}:~$ "),
                _ => {
                    let (used, load) = (self.rng.below(100), self.rng.below(900));
                    format!("df -h /srv\r\n/dev/nvme1n1  200G  {used}%  /srv\r\nload average: 0.{load:03}\r\n$ ")
                }
            };
            let ms = 900 * index;
            let (data, bytes, ei) = (BASE64.encode(&output), output.len(), index + 1);
            let at = Instant(started_at + 80_000 + Micros::try_from(ms).unwrap_or_default() * 1000);
            self.send(Topic::TeleportSessions, stored_at + 20 * SECOND, Some(&key), Counted::Nothing, format_args!(
                r#"{{"bytes":{bytes},"ci":{index},"cluster_name":"{CLUSTER}","data":"{data}","ei":{ei},"event":"print","ms":{ms},"offset":{offset},"time":"{at}"}}"#,
            ));
            offset += bytes;
        }
    }

    fn database(&mut self, session: &Session<'_>) {
        let actions = self.actions();
        let &Session { user, address, roles, started_at, ended_at, .. } = session;
        let (sid, uid, port) = (self.rng.id(), self.rng.id(), 40_000 + self.rng.below(20_000));
        let asked = Asked(session.request);
        let service = format!("prod-db-{:03}", self.rng.below(DATABASES));
        let account = if roles.contains("admin") { "app_admin" } else { "app_ro" };
        self.send(Topic::Teleport, started_at, None, Counted::Session, format_args!(
            r#"{{{asked}"addr.remote":"{address}:{port}","cluster_name":"{CLUSTER}","code":"TDB00I","db_name":"web_app","db_protocol":"postgres","db_service":"{service}","db_uri":"{service}.internal:5432","db_user":"{account}","ei":0,"event":"db.session.start","sid":"{sid}","success":true,"time":"{}","uid":"{uid}","user":"{user}","user_cluster_name":"{CLUSTER}","user_kind":1,"user_roles":[{roles}]}}"#,
            Instant(started_at),
        ));
        let step = (ended_at - started_at) / (Micros::try_from(actions).unwrap_or(1) + 1);
        let mut at = started_at;
        for index in 1..=actions {
            at += step / 2 + self.rng.within(step);
            let (uid, number) = (self.rng.id(), self.rng.below(1_000_000));
            let query = self.rng.one_of(&QUERIES, "select 1 where id =");
            self.audit(at.min(ended_at), format_args!(
                r#"{{{asked}"cluster_name":"{CLUSTER}","code":"TDB02I","db_name":"web_app","db_protocol":"postgres","db_query":"{query} {number}","db_service":"{service}","db_user":"{account}","ei":{index},"event":"db.session.query","sid":"{sid}","success":true,"time":"{}","uid":"{uid}","user":"{user}","user_kind":1}}"#,
                Instant(at.min(ended_at)),
            ));
        }
        if self.is_open() {
            return;
        }
        let (uid, index) = (self.rng.id(), actions + 1);
        self.audit(ended_at, format_args!(
            r#"{{{asked}"addr.remote":"{address}:{port}","cluster_name":"{CLUSTER}","code":"TDB01I","db_name":"web_app","db_protocol":"postgres","db_service":"{service}","db_user":"{account}","ei":{index},"event":"db.session.end","session_start":"{}","session_stop":"{1}","sid":"{sid}","time":"{1}","uid":"{uid}","user":"{user}","user_cluster_name":"{CLUSTER}","user_kind":1,"user_roles":[{roles}]}}"#,
            Instant(started_at), Instant(ended_at),
        ));
    }

    /// One of ten thousand sessions does not end.
    fn is_open(&mut self) -> bool {
        self.rng.below(10_000) == 0
    }

    /// A decision of the policy engine: with a ticket it allows.
    fn decide(&mut self, id: Id, at: Micros, person: usize, target: &str, ticket: Option<u64>) {
        let (person, number) = (self.world.person(person), self.rng.below(1_000_000));
        let (user, boundary_id) = (&person.user, &person.boundary_id);
        let time = Instant(at);
        let why = ticket.map(|ticket| format!(r#""reason_id":"INC-{ticket}","reason_type":"incident""#));
        let (why, is_allowed) = (why.as_deref().unwrap_or_default(), ticket.is_some());
        let message = format_args!(
            r#"{{"bundles":{{"custody":{{"revision":"2.7.1-b27e4d1"}}}},"decision_id":"{id}","input":{{"action":"authorize-session","context":{{"attributes":{{{why}}},"time":"{time}"}},"target":{{"name":"{target}","scope_id":"p_prod000001"}},"user":{{"email":"{user}","id":"{boundary_id}"}}}},"labels":{{"env":"prod","id":"0da00000-0000-4000-8000-000000000001","version":"1.12.1"}},"metrics":{{"timer_rego_query_eval_ns":88412}},"path":"boundary/authz/decision","req_id":{number},"requested_by":"10.20.0.9:41322","result":{{"allow":{is_allowed}}},"timestamp":"{time}"}}"#,
        );
        self.send(Topic::Opa, at, None, Counted::Nothing, message);
    }

    /// A session through Boundary. Targets of production need a decision of the policy engine, whose id the client
    /// sends along; the others do not. Now and then somebody is refused.
    fn through_boundary(&mut self) {
        let _ = self.actions();
        let at = self.clock();
        let world = self.world;
        let number = world.active(&mut self.rng, at);
        let person = world.person(number);
        let is_production = self.rng.below(2) == 0;
        let target = self.rng.below(100);
        let target = if is_production { format!("ttcp_prod{target:06}") } else { format!("ttcp_test{target:06}") };
        let correlation = self.rng.id();
        // One of two hundred gets in without.
        if is_production && self.rng.below(200) != 0 {
            let ticket = 10_000 + self.rng.below(80_000);
            self.decide(correlation, at - 2 * SECOND, number, &target, Some(ticket));
        }
        if self.rng.below(25) == 0 {
            let (id, at) = (self.rng.id(), self.clock());
            let who = world.anyone(&mut self.rng, at);
            let target = format!("ttcp_prod{:06}", self.rng.below(100));
            self.decide(id, at, who, &target, None);
        }
        let ended_at = at + self.length();
        let key = format!("{:010}", self.session);
        let (user, address) = (&person.boundary_id, &person.address);
        let account = user.replacen("u_", "acctoidc_", 1);
        let token = user.replacen("u_", "at_", 1);
        let from = "https://hashicorp.com/boundary";
        let (created, ended) = (Seconds(at + 26_000), Seconds(ended_at));
        let ids =
            [self.rng.id(), self.rng.id(), self.rng.id(), self.rng.id()].map(|id| format!("{:.8}", id.to_string()));
        let [authorized, opened, closed, read] = &ids;
        self.send(Topic::Boundary, at, None, Counted::Session, format_args!(
            r#"{{"id":"{authorized}","source":"{from}/controller-0.prod.example/controller","specversion":"1.0","type":"audit","data":{{"auth":{{"auth_token_id":"{token}","email":"[REDACTED]","grants_info":{{"grants":[{{"grant":"ids=*;type=target;actions=authorize-session","role_id":"r_oncall0001","scope_id":"p_prod000001"}}]}},"name":"[REDACTED]","user_info":{{"auth_account_id":"{account}","id":"{user}"}}}},"correlation_id":"{correlation}","id":"e_{key}a","request":{{"details":{{"id":"{target}"}}}},"request_info":{{"client_ip":"{address}","id":"gtraceid_{key}a","method":"POST","path":"/v1/targets/{target}:authorize-session","public_id":"{token}"}},"response":{{"details":{{"item":{{"connection_limit":-1,"created_time":{created},"scope":{{"id":"p_prod000001","type":"project"}},"session_id":"s_{key}","target_id":"{target}","type":"tcp","user_id":"{user}"}}}},"status_code":200}},"timestamp":"{0}","type":"APIRequest","version":"v0.1"}},"datacontentype":"application/cloudevents","time":"{0}"}}"#,
            Instant(at),
        ));
        for (id, at, message) in [
            (opened, at + 2 * SECOND, "session successfully activated"),
            (closed, ended_at - SECOND, "connection closed"),
        ] {
            self.send(Topic::Boundary, at, None, Counted::Nothing, format_args!(
                r#"{{"id":"{id}","source":"{from}/worker-a.prod.example/worker","specversion":"1.0","type":"system","data":{{"data":{{"connection_id":"sc_{key}","msg":"{message}","session_id":"s_{key}"}},"op":"worker.(Worker).handleProxy","version":"v0.1"}},"datacontentype":"application/cloudevents","time":"{}"}}"#,
                Instant(at),
            ));
        }
        if self.is_open() {
            return;
        }
        // Boundary says that a session is over to whoever asks.
        let (at, correlation) = (ended_at + 4 * MINUTE, self.rng.id());
        self.send(Topic::Boundary, at, None, Counted::Nothing, format_args!(
            r#"{{"id":"{read}","source":"{from}/controller-0.prod.example/controller","specversion":"1.0","type":"audit","data":{{"auth":{{"auth_token_id":"at_auditor001","email":"[REDACTED]","name":"[REDACTED]","user_info":{{"id":"u_auditor001"}}}},"correlation_id":"{correlation}","id":"e_{key}b","request":{{"details":{{"id":"s_{key}"}}}},"request_info":{{"client_ip":"198.51.100.7","id":"gtraceid_{key}b","method":"GET","path":"/v1/sessions/s_{key}","public_id":"at_auditor001"}},"response":{{"details":{{"item":{{"created_time":{created},"id":"s_{key}","states":[{{"start_time":{ended},"status":"terminated"}}],"status":"terminated","target_id":"{target}","termination_reason":"closed by end-user","type":"tcp","user_id":"{user}"}}}},"status_code":200}},"timestamp":"{0}","type":"APIRequest","version":"v0.1"}},"datacontentype":"application/cloudevents","time":"{0}"}}"#,
            Instant(at),
        ));
    }

    /// A session through hoop, as a poller gets it: of production's shells while it waits for its review, and of all
    /// when they are done.
    fn through_hoop(&mut self) {
        let _ = self.actions();
        let at = self.clock();
        let world = self.world;
        let number = world.active(&mut self.rng, at);
        let person = world.person(number);
        let is_production = self.rng.below(3) == 0;
        let place = self.rng.below(20);
        let connection = if is_production { format!("prod-shell-{place:02}") } else { format!("analytics-{place:02}") };
        let (id, review, group) = (self.rng.id(), self.rng.id(), self.rng.id());
        let (user, name, login) = (&person.user, &person.name, &person.login);
        let (reason, ticket) = (self.reason(), 1000 + self.rng.below(90_000));
        let approved_at = at + (MINUTE + self.rng.waiting(5 * MINUTE)).min(40 * MINUTE);
        let by = world.person(world.approver(&mut self.rng, number, None));
        let started_at = if is_production { approved_at + 10 * SECOND } else { at };
        let ended_at = started_at + self.length().min(50 * MINUTE);
        let key = id.to_string();
        let start = Instant(at);
        let begin =
            format!(r#"{{"connection":"{connection}","connection_subtype":"bash","connection_tags":{{"env":"prod"}},"#);
        let metadata =
            format!(r#""metadata":{{"reason":"{reason}","ticket":"OPS-{ticket}"}},"org_id":"{ORGANISATION}""#);
        let rest = format!(
            r#""start_date":"{start}","type":"custom","user":"{user}","user_id":"oidc|{login}","user_name":"{name}","verb":"connect"}}"#
        );
        let asked = format!(
            r#"{{"access_duration":3600000000000,"access_request_rule_name":"shells","created_at":"{start}","id":"{review}","min_approvals":1,"#
        );
        if is_production {
            self.send(Topic::Hoop, at, Some(&key), Counted::Request, format_args!(
                r#"{begin}"end_date":null,"exit_code":null,"id":"{id}","identity_type":"user",{metadata},"review":{asked}"review_groups_data":[{{"group":"approvers","id":"{group}","review_date":null,"reviewed_by":null,"status":"PENDING"}}],"revoke_at":null,"status":"PENDING","type":"jit"}},"status":"open",{rest}"#,
            ));
        }
        let approved = Instant(approved_at);
        let reviewed = match is_production {
            true => format!(
                r#"{asked}"review_groups_data":[{{"group":"approvers","id":"{group}","review_date":"{approved}","reviewed_by":{{"email":"{}","id":"oidc|{}","name":"{}","slack_id":""}},"status":"APPROVED"}}],"revoke_at":"{}","status":"APPROVED","type":"jit"}}"#,
                by.user,
                by.login,
                by.name,
                Instant(approved_at + HOUR),
            ),
            false => "null".to_owned(),
        };
        let seconds = (started_at - at) as f64 / 1e6;
        let output =
            [format!("{login}@{connection}:~$ "), format!("psql -c 'select {}'\r\n(1 row)\r\n", self.rng.below(1000))];
        let [first, second] = output.map(|output| BASE64.encode(output));
        self.send(Topic::Hoop, ended_at + 5 * SECOND, Some(&key), Counted::Session, format_args!(
            r#"{begin}"end_date":"{}","event_stream":[[{:.3},"o","{first}"],[{:.3},"o","{second}"]],"exit_code":0,"id":"{id}","identity_type":"user",{metadata},"review":{reviewed},"status":"done",{rest}"#,
            Instant(ended_at), seconds + 0.25, seconds + 4.5,
        ));
    }
}

/// The requests that an event of a session carries, with the comma behind.
struct Asked(Option<Id>);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, r#""access_requests":["{id}"],"#))
    }
}

/// The place of an end in a recording, with the comma behind.
struct Last(Option<u64>);

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |index| write!(f, r#""ei":{index},"#))
    }
}

/// An instant as Go's JSON shows Protobuf's.
struct Seconds(Micros);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND) * 1000);
        write!(f, r#"{{"nanos":{nanos},"seconds":{seconds}}}"#)
    }
}

/// What people run, with the first arguments.
const COMMANDS: [(&str, &str); 24] = [
    ("/usr/bin/ls", r#""-l","--color=auto""#),
    ("/usr/bin/cat", r#""-n""#),
    ("/usr/bin/tail", r#""-n","200""#),
    ("/usr/bin/grep", r#""-r","ERROR""#),
    ("/usr/bin/journalctl", r#""-u","web-app","--since","today""#),
    ("/usr/bin/systemctl", r#""status","web-app""#),
    ("/usr/bin/systemctl", r#""restart","web-app""#),
    ("/usr/bin/kubectl", r#""logs","-n","web-app""#),
    ("/usr/bin/kubectl", r#""get","pods","-o","wide""#),
    ("/usr/bin/df", r#""-h""#),
    ("/usr/bin/du", r#""-sh""#),
    ("/usr/bin/find", r#""-type","f""#),
    ("/usr/bin/ps", r#""aux""#),
    ("/usr/bin/top", r#""-b","-n","1""#),
    ("/usr/bin/curl", r#""-s","http://localhost:8080/health""#),
    ("/usr/bin/vim", r#""-R""#),
    ("/usr/bin/less", r#""-S""#),
    ("/usr/bin/tar", r#""-czf","backup.tar.gz""#),
    ("/usr/bin/cp", r#""-a","config.yaml""#),
    ("/usr/bin/sha256sum", r#""--tag""#),
    ("/usr/bin/ss", r#""-tlnp""#),
    ("/usr/bin/strace", r#""-c","-p","1""#),
    ("/usr/bin/git", r#""-C""#),
    ("/usr/bin/python3", r#""manage.py","check""#),
];

/// What people ask databases, up to a number.
const QUERIES: [&str; 16] = [
    "select id, state, updated_at from orders where id =",
    "select count(*) from payments where customer_id =",
    "select * from customers where id =",
    "select pid, state, query from pg_stat_activity where pid =",
    "update orders set state = 'queued' where id =",
    "select state, count(*) from orders group by state limit",
    "explain analyze select * from shipments where order_id =",
    "select email, last_login_at from accounts where id =",
    "delete from sessions where account_id =",
    "select sum(amount_cents) from invoices where customer_id =",
    "insert into notes (order_id) values (default) returning",
    "select relname, n_dead_tup from pg_stat_user_tables limit",
    "select now() - pg_last_xact_replay_timestamp() limit",
    "update stock set reserved = reserved - 1 where sku =",
    "select a.id, b.name from items a join products b using (sku) where a.id =",
    "begin; select id from jobs where id =",
];
