//! The composition root: `perennial up` = API + worker + executor in one process on an embedded database.
//!
//! `house` joins the parts, `files` keeps what clients find in the data directory, `banner` says what was started.

mod banner;
mod files;
mod house;
mod signals;

use std::num::{NonZeroU32, NonZeroU64};

use clap::{Args, ValueEnum};

use self::house::House;
use self::signals::Signals;
use crate::config::Settings;
use crate::exit::Exit;

/// Start the server: API, worker and executor in one process on an embedded database.
///
/// Listens on the loopback interface and stores everything in the data directory. The address and the key are left there
/// for the other verbs.
#[derive(Debug, Default, Args)]
pub struct UpArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7340] [env: PERENNIAL_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Let tools change this host without asking even where they cannot be contained [env: PERENNIAL_ALLOW_LOCAL]
    #[arg(long)]
    pub allow_local: bool,
    /// How many sessions are worked on at a time [default: 64] [env: PERENNIAL_SLOTS]
    #[arg(long, value_name = "N")]
    pub slots: Option<NonZeroU32>,
    /// Lease time to live
    #[arg(long, value_name = "MS", hide = true)]
    pub lease_ttl_ms: Option<NonZeroU64>,
    /// Time between lease renewals
    #[arg(long, value_name = "MS", hide = true)]
    pub renew_ms: Option<NonZeroU64>,
    /// Time between sweeps for ready sessions
    #[arg(long, value_name = "MS", hide = true)]
    pub sweep_ms: Option<NonZeroU64>,
    /// What carries hints and previews between the parts; `silent` loses every one of them (for tests)
    #[arg(long, value_name = "BUS", hide = true, default_value = "local")]
    pub bus: BusKind,
}

/// What carries hints and previews.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    /// In this process.
    #[default]
    Local,
    /// Nothing arrives.
    Silent,
}

/// Runs the server until it is told to stop (SIGINT, SIGTERM), then lets go of everything in order: no new connections and
/// no new claims; sessions are given back while calls stay in their journal; then the store.
pub async fn run(args: UpArgs, settings: Settings) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let house = House::build(&args, &settings).await?;
    // The address is in the data directory before anybody can read it from stdout.
    house.announce()?;
    banner::print(&house, &settings);
    house.run(signals.stop()).await?;
    Ok(Exit::Done)
}
