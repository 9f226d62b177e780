//! Who may connect to a unix socket: the mode, the owner and the group of its file.
//!
//! Always holds: they are in place before the socket listens, so that nobody connects whom they keep out. Never: another
//! file; a link that somebody put there meanwhile is not followed.

#[cfg(feature = "accounts")]
use nix::unistd::{Gid, Group, Uid, User};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// The file of a unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Its mode, `0o000..=0o777`: to connect is to write. Default: what the process's umask leaves of 0777.
    pub mode: Option<u32>,
    /// Whose it is. Only root can give it to somebody else. Default: the process's user.
    pub owner: Option<Account>,
    /// Which group's it is: one of the process's own, unless it is root's. Default: the process's group, or the
    /// directory's if that says so.
    pub group: Option<Account>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By its name, as the host knows it.
    #[cfg(feature = "accounts")]
    Name(String),
    /// By its number.
    Id(u32),
}

impl FileOptions {
    /// Gives the file its owner, group and mode.
    pub(super) fn apply(&self, path: &Path) -> io::Result<()> {
        let owner = self.owner.as_ref().map(user_id).transpose()?;
        let group = self.group.as_ref().map(group_id).transpose()?;
        if owner.is_some() || group.is_some() {
            lchown(path, owner, group).map_err(|error| self.not_given(&error))?;
        }
        let Some(mode) = self.mode else { return Ok(()) };
        if fs::symlink_metadata(path)?.is_symlink() {
            return Err(io::Error::other("somebody put a link in the place of the socket's file"));
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn not_given(&self, error: &io::Error) -> io::Error {
        let name = |account: &Option<Account>| account.as_ref().map_or("as it is".to_owned(), Account::text);
        let (owner, group) = (name(&self.owner), name(&self.group));
        io::Error::other(format!(
            "its file can't be given to owner {owner}, group {group} ({error}); only root can give it to another user, or to \
             a group that it is not in itself"
        ))
    }
}

impl Account {
    fn text(&self) -> String {
        match self {
            #[cfg(feature = "accounts")]
            Account::Name(name) => name.clone(),
            Account::Id(id) => id.to_string(),
        }
    }
}

fn user_id(account: &Account) -> io::Result<u32> {
    match account {
        Account::Id(id) => Ok(*id),
        #[cfg(feature = "accounts")]
        Account::Name(name) => {
            let found = User::from_name(name)?.map(|user| Uid::as_raw(user.uid));
            found.ok_or_else(|| io::Error::other(format!("there is no user {name:?} on this host")))
        }
    }
}

fn group_id(account: &Account) -> io::Result<u32> {
    match account {
        Account::Id(id) => Ok(*id),
        #[cfg(feature = "accounts")]
        Account::Name(name) => {
            let found = Group::from_name(name)?.map(|group| Gid::as_raw(group.gid));
            found.ok_or_else(|| io::Error::other(format!("there is no group {name:?} on this host")))
        }
    }
}
