//! What people see of a session: text as it streams, tool cards, the outcome.

mod card;
mod sanitize;
mod stream;
mod style;

pub use card::{plain, summary};
pub use sanitize::sanitize;
pub use stream::Transcript;
pub use style::Style;
