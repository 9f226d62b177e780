//! The file of users, read beside the configuration: at the start, at a check, and whenever the users are to be replaced.

use super::admin::is_open_to_all;
use super::colours;
use super::sources::{read, tell};
use crate::config::{Config, Loaded, Mistakes};
use crate::identity::Users;
use anyhow::anyhow;
use std::sync::Arc;

/// The configuration with all its users; the number of mistakes, all told, if there are any.
pub(super) fn complete(mut loaded: Loaded) -> anyhow::Result<Result<Loaded, usize>> {
    match all(&loaded.config)? {
        Ok(users) => {
            loaded.config.users = users;
            Ok(Ok(loaded))
        }
        Err(mistakes) => {
            tell(&mistakes.render(colours::are_wanted(&std::io::stderr())));
            Ok(Err(mistakes.len()))
        }
    }
}

/// The users of a configuration and of its file.
pub(super) fn all(config: &Config) -> anyhow::Result<Result<Arc<Users>, Mistakes>> {
    let Some(path) = &config.users_file else { return Ok(Ok(Arc::clone(&config.users))) };
    let file = read(path).map_err(|error| anyhow!("users_file under [server]: {error}"))?;
    Ok(Users::clone(&config.users).and_text(&file.name, &file.text).map(Arc::new))
}

/// What should not be left so: one line each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let open = config.users_file.iter().filter(|path| is_open_to_all(path));
    open.map(|path| {
        let path = path.display();
        format!("{path} can be read by every user of this host; take that away: chmod 600 {path}")
    })
    .collect()
}
