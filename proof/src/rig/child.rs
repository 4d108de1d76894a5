//! Child processes that do not outlive the test: also when it is killed, where `kill_on_drop` has no say.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use tokio::process::Command;

/// Asks the kernel to kill the child when the thread that starts it ends.
pub fn bind_to_us(command: &mut Command) {
    let parent = Pid::from_raw(std::process::id().cast_signed());
    let bind = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // We may have ended before the request was in force.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    };
    command.kill_on_drop(true);
    #[expect(
        unsafe_code,
        reason = "runs between fork and exec: two system calls, no allocation, no lock"
    )]
    unsafe {
        command.pre_exec(bind);
    }
}
