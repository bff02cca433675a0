//! Settings of an index: what may be asked for (`update`), how it reaches the engine (`apply`, `reindex`), how it is read back
//! (`read`) and the routes.

mod apply;
mod read;
mod reindex;
mod routes;
mod secrets;
mod update;

use self::apply::apply;
pub use self::reindex::update;
pub use self::routes::routes;
pub use self::secrets::without_secrets;
