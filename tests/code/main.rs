//! How code gets into a session's folder and out of it: variables, setup scripts, repositories, files.

mod diffs;
mod files;
mod house;
mod preparation;
mod repositories;
mod web;
