//! Settings of an index: what may be asked for (`update`), how it reaches the engine (`apply`), how it is read back
//! (`read`) and the routes.

mod apply;
mod read;
mod routes;
mod secrets;
mod update;

pub use self::apply::apply;
pub use self::routes::routes;
pub use self::secrets::without_secrets;
