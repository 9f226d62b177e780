//! What says who may come in: networks, and the mode, owner and group of a socket's file.
//!
//! Each gives what is wrong in words. Never: whether a user or a group exists, which is the host's to say when it listens.

use super::shown;
use crate::base::Network;
use crate::config::value::Value;

/// Networks, each as it is read best, separated by commas.
pub(super) fn networks(text: &str, most: usize) -> Result<Value, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let networks = parts.map(str::parse::<Network>).collect::<Result<Vec<_>, _>>();
    let networks = networks.map_err(|error| error.to_string())?;
    match networks.len() {
        count if count > most => Err(format!("{count} networks are too many; there may be {most}")),
        _ => Ok(Value::Text(networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into())),
    }
}

/// Three octal digits, with or without a zero before them; or what the umask says.
pub(super) fn mode(text: &str) -> Result<Value, String> {
    if text == "umask" {
        return Ok(Value::Word("umask"));
    }
    let digits = if text.len() == 4 { text.strip_prefix('0').unwrap_or(text) } else { text };
    if digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
        return Ok(Value::Text(format!("0{digits}").into()));
    }
    Err(format!("{} is no mode of a socket's file", shown(text)))
}

/// A name of a user or a group, or a number; or nothing.
pub(super) fn account(text: &str) -> Result<Value, String> {
    /// Longer than the names of any system (`LOGIN_NAME_MAX` of Linux).
    const NAME_BYTES_MAX: usize = 256;
    let is_plain = text.chars().all(|letter| letter.is_alphanumeric() || "-_.@$\\".contains(letter));
    if text.len() > NAME_BYTES_MAX || !is_plain || text.starts_with('-') {
        return Err(format!("{} is no name of a user or a group", shown(text)));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() && text.parse::<u32>().is_err() {
        return Err(format!("{text} is beyond the numbers of users and groups, 0 to {}", u32::MAX));
    }
    Ok(Value::Text(text.to_owned().into()))
}
