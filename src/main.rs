//! `custody`: the one binary. It composes the crates, and knows the command line, HTTP and configuration.

mod activity;
mod bench;
mod cli;
mod collect;
mod config;
mod demo;
mod doctor;
mod evidence;
mod exit;
mod forward;
mod http;
mod import;
mod maintain;
mod period;
mod recordings;
mod reels;
mod report;
mod run;
mod search;
mod show;
mod shutdown;
mod watch;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{Cli, Command, DemoPart, ForwardCommand};
use crate::config::Config;
use crate::exit::Failure;

/// Stack of each thread: enough for the deepest statement that the engine takes, four times over.
const STACK_BYTES: usize = 32 << 20;

fn main() -> ExitCode {
    share_memory();
    let cli = Cli::parse();
    start_log(&cli);
    // A statement of many operators is planned by walking down as many levels. The memory is taken when it is used.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().thread_stack_size(STACK_BYTES).build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::broken(error).report(),
    };
    let done = runtime.block_on(dispatch(cli));
    // A question that is still running in the background must not keep a command that is done. The threads are left as
    // they are: to let go of one that is just ending is a use after free in glibc (its bug 19951).
    std::mem::forget(runtime);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Batches are filled on one thread and let go on another. The system's allocator would keep what was freed for each
/// thread by itself, which doubles the memory that ingest takes. And it would keep large buffers between small ones that
/// live on, once it has seen some come and go: they are given back when they are freed.
fn share_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "there is no safe way to set up the system's allocator")]
    // SAFETY: no other thread runs yet, and every value of this parameter is allowed.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(
            shell,
            &mut <Cli as clap::CommandFactory>::command(),
            "custody",
            &mut std::io::stdout(),
        );
        return Ok(());
    }
    if let Command::WirePassword { name } = &cli.command {
        return wire::print_verifier(name);
    }
    let data = cli.global.data.as_deref();
    let config = Config::load(cli.global.config.as_deref(), data).map_err(Failure::usage)?;
    match cli.command {
        Command::Demo(demo) => match demo.part {
            Some(DemoPart::Gateways { brokers }) => demo::gateways(&config, brokers, demo.exit_after).await,
            None => demo::run(config, data.is_some(), &demo).await,
        },
        Command::Up(listen) => run::up(config, &listen).await,
        Command::Ingest(watched) => run::ingest(config, watched).await,
        Command::Collect => run::collect(config).await,
        Command::Serve(listen) => run::serve(config, &listen).await,
        Command::Import(args) => import::run(&config, args).await,
        Command::Maintain(what) => maintain::run(&config, what).await,
        Command::Sessions(sessions) => show::sessions(&config, sessions).await,
        Command::Show(args) => show::session(&config, &args).await,
        Command::Sql(sql) => show::sql(&config, &sql).await,
        Command::Report(command) => report::run(&config, command).await,
        Command::Evidence(args) => evidence::run(&config, &args).await,
        Command::Exception(command) => report::exception(&config, command).await,
        Command::Forward(command) => forward::command(config, command).await,
        Command::Search(args) => search::run(&config, args).await,
        Command::Replay(replay) => recordings::replay(&config, &replay).await,
        Command::Export(export) => recordings::export(&config, &export).await,
        Command::Config => run::print_config(&config),
        Command::Doctor => doctor::run(&config).await,
        Command::Bench(bench) => bench::run(&config, bench).await,
        // Handled above: they need no configuration.
        Command::Completions { .. } | Command::WirePassword { .. } => Ok(()),
    }
}

/// Log lines go to standard error. Commands that run on say what they do; the others only warn. The Delta library logs
/// each error that it returns, and those are told where they matter.
fn start_log(cli: &Cli) {
    let runs_on = match &cli.command {
        Command::Up(_) | Command::Collect | Command::Ingest(_) | Command::Serve(_) => true,
        Command::Forward(command) => matches!(command, ForwardCommand::Run(_)),
        Command::Maintain(maintain) => maintain.tables.every.is_some(),
        _ => false,
    };
    let level = match (cli.global.verbose, runs_on) {
        (0, false) => "warn,deltalake_core=off,buoyant_kernel=off,librdkafka=off,rdkafka=off",
        (0, true) | (1, _) => {
            "warn,deltalake_core=off,buoyant_kernel=off,librdkafka=off,rdkafka=off,custody=info,custody_ingest=info,custody_ledger=info,custody_query=info,custody_forward=info"
        }
        _ => "info,custody=debug,custody_ingest=debug,custody_ledger=debug,custody_query=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if cli.global.log_json {
        registry.with(lines.json()).init();
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(lines.with_ansi(colours).with_target(false)).init();
    }
}
