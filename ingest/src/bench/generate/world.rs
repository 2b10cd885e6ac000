//! Who and what there is in a generated ledger: people, hosts, days, and the dice.

use std::fmt;
use std::fmt::Write as _;

use custody_schemas::time::Micros;

use super::Plan;

pub(super) const SECOND: Micros = 1_000_000;
pub(super) const MINUTE: Micros = 60 * SECOND;
pub(super) const HOUR: Micros = 60 * MINUTE;
pub(super) const DAY: Micros = 24 * HOUR;

/// 2026-10-01T00:00:00Z: nothing is told from here on.
const END: Micros = 1_790_812_800 * SECOND;

/// Sessions that are told together: they fill about a thousand events.
pub(super) const BLOCK_SESSIONS: u64 = 20;
const BLOCK_EVENTS: u64 = 50 * BLOCK_SESSIONS;

/// Names of people: each first name with each last one.
const FIRST_NAMES: [&str; 50] = [
    "alice", "boris", "carol", "david", "elena", "felix", "grace", "henri", "irene", "jonas", "karin", "lukas",
    "maria", "nadia", "oscar", "paula", "quinn", "rosa", "simon", "tanja", "ulrich", "vera", "willem", "xenia",
    "yusuf", "zoe", "anton", "bella", "chen", "diego", "esra", "farid", "gita", "hugo", "ines", "jamal", "kofi",
    "lena", "marek", "noor", "olga", "pavel", "rania", "stefan", "tomas", "uma", "viktor", "wanda", "yara", "zane",
];
const LAST_NAMES: [&str; 40] = [
    "ng", "ortiz", "weiss", "roy", "sol", "adler", "brandt", "costa", "duarte", "eriksen", "fischer", "garcia",
    "haddad", "ivanov", "jensen", "kowalski", "larsen", "moreau", "novak", "okafor", "petrov", "quist", "rossi",
    "sato", "tanaka", "ueda", "vogel", "wagner", "xu", "yilmaz", "zhang", "abbas", "berg", "conti", "dubois", "engel",
    "falk", "greco", "horvat", "ito",
];

/// The last of the people approve what others ask for, and stay with the company.
const LEADS: usize = 60;
const TEAMS: usize = 40;
const BOTS: u64 = 20;

/// Roles that are asked for. The last four are for databases.
pub(super) const ROLES: [&str; 10] = [
    "prod-read",
    "prod-ops",
    "prod-deploy",
    "prod-network",
    "prod-logs",
    "prod-security",
    "prod-db-read",
    "prod-db-admin",
    "prod-db-etl",
    "prod-billing-db",
];
/// Role of emergencies: a plugin grants it at once.
pub(super) const BREAK_GLASS: &str = "break-glass-admin";
/// The plugin.
pub(super) const PLUGIN: &str = "break-glass-plugin";
/// A role that some hold without asking.
pub(super) const STANDING: &str = "prod-standing";

/// Hosts whose sessions are recorded come first, and are the production's.
pub(super) const HOSTS: u64 = 3000;
const HOSTS_OF_PRODUCTION: u64 = 750;
/// Databases.
pub(super) const DATABASES: u64 = 200;

/// Someone who uses the gateways.
#[derive(Debug)]
pub(super) struct Person {
    /// Name at Teleport, hoop and the policy engine.
    pub(super) user: String,
    /// What colleagues say.
    pub(super) name: String,
    /// Account on hosts.
    pub(super) login: String,
    /// Id at Boundary.
    pub(super) boundary_id: String,
    /// Where the connections come from.
    pub(super) address: String,
    /// Roles that are held without asking, as JSON strings.
    pub(super) roles: String,
    /// Number of the lead of the team; leads have none.
    pub(super) lead: Option<usize>,
    is_vendor: bool,
    /// When they left the company.
    pub(super) left_at: Option<Micros>,
}

/// Everything that does not change while the ledger is told.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) people: Vec<Person>,
    /// Numbers of those who left.
    leavers: Vec<usize>,
    /// The first day, in days since 1970.
    first_day: i32,
    /// Number of the first block of each day, and of the one after the last.
    blocks: Vec<u64>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let days = i32::try_from(plan.days.max(1)).unwrap_or(i32::MAX / 2);
        let first_day = custody_schemas::time::date_of(END) - days;
        let mut weights = vec![0_u64];
        for day in first_day..first_day + days {
            // 1970-01-01 was a Thursday.
            let is_weekend = matches!((day + 4).rem_euclid(7), 0 | 6);
            weights.push(weights.last().copied().unwrap_or_default() + if is_weekend { 1 } else { 5 });
        }
        let all = weights.last().copied().unwrap_or(1).max(1);
        let count = plan.events.div_ceil(BLOCK_EVENTS);
        let blocks =
            weights.iter().map(|weight| u64::try_from(u128::from(count) * u128::from(*weight) / u128::from(all)));
        let blocks = blocks.map(Result::unwrap_or_default).collect();
        let from = Micros::from(first_day) * DAY;
        let people: Vec<Person> =
            (0..FIRST_NAMES.len() * LAST_NAMES.len()).map(|number| person(plan.seed, number, from)).collect();
        let leavers = people.iter().enumerate().filter(|(_, person)| person.left_at.is_some());
        let leavers = leavers.map(|(number, _)| number).collect();
        Self { seed: plan.seed, leavers, people, first_day, blocks }
    }

    pub(super) fn days(&self) -> usize {
        self.blocks.len().saturating_sub(1)
    }

    /// Midnight of a day, which has a number from 0.
    pub(super) fn midnight(&self, day: usize) -> Micros {
        (Micros::from(self.first_day) + Micros::try_from(day).unwrap_or_default()) * DAY
    }

    /// The blocks of sessions that begin on a day.
    pub(super) fn blocks_of(&self, day: usize) -> std::ops::Range<u64> {
        let at = |day: usize| self.blocks.get(day).copied().unwrap_or_default();
        at(day)..at(day + 1)
    }

    /// Someone by the number, which may be any.
    pub(super) fn person(&self, number: usize) -> &Person {
        // There are always two thousand people.
        #[expect(clippy::indexing_slicing, reason = "a remainder of the length is below it")]
        &self.people[number % self.people.len()]
    }

    /// Someone who works here then, and for some days more; a few people do most.
    pub(super) fn active(&self, rng: &mut Rng, at: Micros) -> usize {
        self.employed(at, || rng.unit().powf(1.6))
    }

    /// Anyone who works here then, whoever as likely.
    pub(super) fn anyone(&self, rng: &mut Rng, at: Micros) -> usize {
        self.employed(at, || rng.unit())
    }

    fn employed(&self, at: Micros, mut unit: impl FnMut() -> f64) -> usize {
        loop {
            let number = (unit() * self.people.len() as f64) as usize;
            if self.person(number).left_at.is_none_or(|left_at| left_at > at + 3 * DAY) {
                return number;
            }
        }
    }

    /// Someone who has left by then, if there is anyone.
    pub(super) fn leaver(&self, rng: &mut Rng, at: Micros) -> Option<usize> {
        let one = (rng.unit() * self.leavers.len() as f64) as usize;
        let after = self.leavers.iter().cycle().skip(one).take(self.leavers.len());
        after.copied().find(|number| self.person(*number).left_at.is_some_and(|left_at| left_at + DAY < at))
    }

    /// Someone else who approves: mostly the lead of the team.
    pub(super) fn approver(&self, rng: &mut Rng, of: usize, not: Option<usize>) -> usize {
        let lead = self.person(of).lead.filter(|lead| rng.below(10) < 6 && Some(*lead) != not);
        lead.unwrap_or_else(|| {
            loop {
                let one = self.people.len() - 1 - rng.below(LEADS as u64) as usize;
                if one != of && Some(one) != not {
                    return one;
                }
            }
        })
    }
}

fn person(seed: u64, number: usize, from: Micros) -> Person {
    let mut rng = Rng::new(seed ^ 0x0070_656f_706c_6500, number as u64);
    let all = FIRST_NAMES.len() * LAST_NAMES.len();
    let named = |names: &'static [&str], number: usize| names.get(number).copied().unwrap_or("anyone");
    let first = named(&FIRST_NAMES, number % FIRST_NAMES.len());
    let last = named(&LAST_NAMES, number / FIRST_NAMES.len());
    let is_lead = number >= all - LEADS;
    let team = number % TEAMS;
    let is_vendor = !is_lead && number % 20 == 7;
    let span = (END - from).unsigned_abs();
    Person {
        user: format!("{first}.{last}@example.com"),
        name: format!("{} {}", capital(first), capital(last)),
        login: format!("{first}.{last}"),
        boundary_id: format!("u_{:010}", 1_000_000 + number),
        address: format!("203.0.113.{}", number % 250 + 1),
        roles: format!(r#""access","team-{team:02}""#),
        lead: (!is_lead).then(|| all - LEADS + number % LEADS),
        is_vendor,
        left_at: (!is_lead && number % 13 == 5).then(|| from + Micros::try_from(rng.below(span)).unwrap_or_default()),
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Name of a host.
pub(super) struct Host(pub(super) u64);

impl Host {
    /// Whether it is one of the production's, whose sessions are recorded.
    pub(super) fn is_production(&self) -> bool {
        self.0 < HOSTS_OF_PRODUCTION
    }

    /// Any host of the production's.
    pub(super) fn of_production(rng: &mut Rng) -> Self {
        Self(rng.below(HOSTS_OF_PRODUCTION))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:04}", if self.is_production() { "prod" } else { "app" }, self.0)
    }
}

/// Name of a machine account.
pub(super) fn bot(rng: &mut Rng) -> String {
    format!("bot-deploy-{:02}", rng.below(BOTS))
}

/// What no gateway publishes, as the files of `[reference]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `people.csv`
    pub people: String,
    /// `approvers.csv`
    pub approvers: String,
    /// `shared-accounts.csv`
    pub shared_accounts: String,
    /// `privileged.csv`
    pub privileged: String,
}

/// The reference data of the ledger that [`super::generate`] makes of the same plan.
pub fn reference(plan: Plan) -> Reference {
    let world = World::new(plan);
    let since = Instant(world.midnight(0) - 400 * DAY);
    let mut people = "person,kind,team,manager,hired_at,terminated_at,aliases\n".to_owned();
    let mut approvers = "approver,scope_kind,scope,valid_from,valid_to\n".to_owned();
    // Writing to a string cannot fail.
    for (number, person) in world.people.iter().enumerate() {
        let Person { user, boundary_id, lead, is_vendor, left_at, .. } = person;
        let kind = if *is_vendor { "vendor" } else { "human" };
        let manager = lead.map_or("", |lead| &world.person(lead).user);
        let left_at = left_at.map(|at| Instant(at).to_string()).unwrap_or_default();
        let _ = writeln!(people, "{user},{kind},team-{:02},{manager},{since},{left_at},{boundary_id}", number % TEAMS);
        if lead.is_none() {
            let _ = writeln!(approvers, "{user},any,*,{since},");
        }
    }
    let owner = &world.person(world.people.len() - 1).user;
    for number in 0..BOTS {
        let _ = writeln!(people, "bot-deploy-{number:02},service,team-00,{owner},{since},,");
    }
    let _ = writeln!(people, "{PLUGIN},service,team-00,{owner},{since},,");
    let _ = writeln!(approvers, "{PLUGIN},role,{BREAK_GLASS},{since},");
    let mut shared_accounts = "login,owner,justification\n".to_owned();
    for (login, what) in [
        ("app_admin", "database administration through the gateway"),
        ("app_ro", "reading in databases through the gateway"),
        ("deploy", "machines that deploy"),
    ] {
        let _ = writeln!(shared_accounts, "{login},{owner},{what}");
    }
    let privileged = "kind,name\ntarget,prod-*\ntarget,ttcp_prod*\nrole,prod-*\nrole,break-glass-*\n".to_owned();
    Reference { people, approvers, shared_accounts, privileged }
}

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// The dice of one thing among those of a seed.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0xA24B_AED4_963E_E407) ^ number.wrapping_mul(0x9FB2_1C65_1E98_DF25));
        rng.next();
        rng
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below another.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or_default()
    }

    /// A span of time below another.
    pub(super) fn within(&mut self, span: Micros) -> Micros {
        Micros::try_from(self.below(span.max(1).unsigned_abs())).unwrap_or_default()
    }

    /// A number from 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A span of time that is mostly short and now and then long.
    pub(super) fn waiting(&mut self, mean: Micros) -> Micros {
        (-(1.0 - self.unit()).ln() * mean as f64) as Micros
    }

    /// An id that was never given before.
    pub(super) fn id(&mut self) -> Id {
        Id(self.next(), self.next())
    }

    /// One of several.
    pub(super) fn one_of<T: Copy>(&mut self, several: &[T], otherwise: T) -> T {
        let one = self.below(several.len() as u64);
        several.get(usize::try_from(one).unwrap_or_default()).copied().unwrap_or(otherwise)
    }
}

/// A UUID of version 4.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(u64, u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let (high, low) = ((self.0 & !0xf000) | 0x4000, (self.1 & !(3 << 62)) | (2 << 62));
        let mut bits = (u128::from(high) << 64) | u128::from(low);
        let mut text = [b'-'; 36];
        for (place, letter) in text.iter_mut().enumerate().rev() {
            if !matches!(place, 8 | 13 | 18 | 23) {
                *letter = DIGITS.get((bits & 15) as usize).copied().unwrap_or(b'0');
                bits >>= 4;
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// An instant in RFC 3339, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant(pub(super) Micros);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY) / 1000);
        // Days since 0000-03-01 in eras of 400 years: the leap day is the last of its year.
        let day = days + 719_468;
        let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let of_month = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + i64::from(month <= 2);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (end, number) in [
            (4, year),
            (7, month),
            (10, of_month),
            (13, seconds / 3600),
            (16, seconds / 60 % 60),
            (19, seconds % 60),
            (23, millis),
        ] {
            let mut left = number;
            for letter in text.iter_mut().take(end).rev().take_while(|letter| letter.is_ascii_digit()) {
                *letter = b'0' + u8::try_from(left % 10).unwrap_or_default();
                left /= 10;
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use custody_schemas::time::{Parsed, parse_rfc3339};

    use super::*;

    #[test]
    fn instants_and_ids_are_written_as_others_read_them() {
        for at in [0, END, END - 1000, 951_782_400 * SECOND + 7000, 1_709_164_799 * SECOND, 1_735_689_599_999_000] {
            assert_eq!(parse_rfc3339(&Instant(at).to_string()), Some(Parsed::At(at)), "{}", Instant(at));
        }
        assert_eq!(Instant(END).to_string(), "2026-10-01T00:00:00.000Z");
        let id = Rng::new(1, 2).id().to_string();
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4, "{id}");
    }

    #[test]
    fn weekends_are_quiet_and_no_block_is_left_out() {
        let world = World::new(Plan { events: 10_000_000, days: 14, seed: 1 });
        let blocks: Vec<u64> = (0..world.days()).map(|day| world.blocks_of(day).count() as u64).collect();
        assert_eq!(blocks.iter().sum::<u64>(), 10_000);
        assert!(blocks.iter().filter(|blocks| **blocks < 250).count() == 4, "{blocks:?}");
        assert_eq!(world.midnight(14), END);
    }

    #[test]
    fn reference_data_names_everyone_once() {
        let reference = reference(Plan { events: 1000, days: 30, seed: 1 });
        let mut people: Vec<&str> =
            reference.people.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert_eq!(people.len(), 2000 + 20 + 1);
        people.sort_unstable();
        people.dedup();
        assert_eq!(people.len(), 2021);
        assert_eq!(reference.approvers.lines().count(), 1 + LEADS + 1);
    }
}
