//! Users: those of the configuration, and those of a file of their own, which need not be readable by whoever may read
//! the other.
//!
//! Always holds: two files together give one list, in which nobody is twice. Never: files; whoever calls hands texts in.

use super::report::{File, Mistake, Mistakes, Origin};
use super::schema::SECTIONS;
use super::settings::{self, Part, Setting};
use crate::identity::{RouteSet, User, UserError, Users};

impl Users {
    /// From a file that has `[[user]]` tables and nothing else; its name is for messages.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn from_text(name: &str, text: &str) -> Result<Users, Mistakes> {
        Users::new().and_text(name, text)
    }

    /// These, and those of such a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once; somebody who is there already among it.
    pub fn and_text(self, name: &str, text: &str) -> Result<Users, Mistakes> {
        let mut mistakes = Vec::new();
        let (written, is_damaged) = super::read(text, &mut mistakes);
        for section in SECTIONS.iter().filter(|section| section.name != "user") {
            let origin = written.table(section.name).map(|table| &table.origin);
            if let Some(origin) = origin.or_else(|| written.list(section.name).map(|(origin, _)| origin)) {
                let what = if section.name.is_empty() { "keys".to_owned() } else { section.header() };
                let title = format!("a file of users has no {what}");
                mistakes.push(Mistake::new(origin, title, "write it into the configuration"));
            }
        }
        let parts = settings::judge(&written, is_damaged, &mut mistakes);
        let users = add(self, &parts, &mut mistakes);
        if mistakes.is_empty() {
            return Ok(users);
        }
        let mut file = File { name: name.to_owned(), text: text.to_owned() };
        super::hide_secrets(&mut file, &written, is_damaged);
        Err(Mistakes::new(Some(file), mistakes))
    }
}

/// Adds the users of a configuration.
pub(super) fn add(mut users: Users, parts: &[Part], mistakes: &mut Vec<Mistake>) -> Users {
    for part in parts.iter().filter(|part| part.section.name == "user") {
        let Some(user) = user(part) else { continue };
        if let Err(error) = users.add(user) {
            // What is missing may be what is misspelt.
            let is_told = part.is_partial && matches!(error, UserError::Unprovable { .. });
            if !is_told {
                mistakes.push(told(part, &error));
            }
        }
    }
    users
}

/// `None` if a value of it was refused, which was told.
fn user(part: &Part) -> Option<User> {
    let text = |name: &str| part.text(name);
    let routes = RouteSet::parse(text("routes")?).ok()?;
    let (token, certificate) = (text("token_hash")?, text("certificate")?);
    let mut user = User::new(text("name")?).ok()?.routes(routes);
    if !token.is_empty() {
        user = user.token(token.parse().ok()?);
    }
    Some(if certificate.is_empty() { user } else { user.certificate(certificate) })
}

fn told(part: &Part, error: &UserError) -> Mistake {
    let (key, advice) = match error {
        UserError::Unprovable { .. } => {
            (None, "tidegate token NAME makes a token, and prints what to write here")
        }
        UserError::Twice { .. } => (Some("name"), "give one of the two another name"),
        UserError::SameCertificate { .. } | UserError::Certificate { .. } => {
            (Some("certificate"), "take it out of one of the two")
        }
        UserError::Name { .. } => (Some("name"), "give it another name"),
        UserError::TooMany { .. } => (None, "take this one and those behind it out"),
    };
    let at = key.and_then(|name| part.settings.iter().find(|setting: &&Setting| setting.key.name == name));
    let origin: &Origin = at.map_or(&part.origin, |setting| &setting.origin);
    Mistake::new(origin, error.to_string(), advice)
}
