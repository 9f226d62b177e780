//! A reader of HTML that takes nothing but what is written out in full: every element closed, every value in quotes.

/// Elements that have no end.
const VOID: &[&str] = &["meta"];
/// Elements whose text is no markup.
const RAW: &[&str] = &["style", "script"];

/// What a page is made of.
#[derive(Debug, Default)]
pub(crate) struct Markup {
    /// The name of every element, in order.
    pub(crate) tags: Vec<String>,
    /// Element, attribute, value.
    pub(crate) attributes: Vec<(String, String, String)>,
}

impl Markup {
    /// Takes a page apart, or says what is wrong with it.
    pub(crate) fn read(html: &str) -> Result<Markup, String> {
        let mut markup = Markup::default();
        let mut open: Vec<String> = Vec::new();
        let mut rest =
            html.strip_prefix("<!DOCTYPE html>").ok_or("it does not begin with its document type")?;
        while let Some((text, after)) = rest.split_once('<') {
            is_plain(text)?;
            let (tag, after) = after.split_once('>').ok_or("a tag has no end")?;
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                let last = open.pop();
                if last.as_deref() != Some(name) {
                    return Err(format!("</{name}> closes {last:?}"));
                }
                continue;
            }
            let is_closed = tag.ends_with('/');
            let name = markup.element(tag.trim_end_matches('/'))?;
            if RAW.contains(&name.as_str()) {
                let end = format!("</{name}>");
                rest = rest.split_once(&end).ok_or(format!("{end} is missing"))?.1;
            } else if !is_closed && !VOID.contains(&name.as_str()) {
                open.push(name);
            }
        }
        is_plain(rest)?;
        if open.is_empty() { Ok(markup) } else { Err(format!("never closed: {open:?}")) }
    }

    fn element(&mut self, tag: &str) -> Result<String, String> {
        let (name, mut rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(format!("<{tag}> is no tag"));
        }
        self.tags.push(name.to_owned());
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(name.to_owned());
            }
            let end = rest.find(['=', ' ']).unwrap_or(rest.len());
            let attribute = rest[..end].to_owned();
            let mut value = "";
            rest = &rest[end..];
            if let Some(after) = rest.strip_prefix("=\"") {
                (value, rest) = after.split_once('"').ok_or(format!("{attribute} of <{name}> has no end"))?;
                is_plain(value)?;
            } else if rest.starts_with('=') {
                return Err(format!("{attribute} of <{name}> has no quotes"));
            }
            self.attributes.push((name.to_owned(), attribute, value.to_owned()));
        }
    }

    /// The values of an attribute, in order.
    pub(crate) fn values_of(&self, attribute: &str) -> Vec<&str> {
        let found = self.attributes.iter().filter(|(_, name, _)| name == attribute);
        found.map(|(_, _, value)| value.as_str()).collect()
    }
}

/// Text without markup: every `&` begins one of the few references that are used.
fn is_plain(text: &str) -> Result<(), String> {
    let is_known =
        |after: &str| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|name| after.starts_with(name));
    match text.split('&').skip(1).find(|after| !is_known(after)) {
        Some(after) => Err(format!("a bare & before {:?}", after.chars().take(12).collect::<String>())),
        None if text.contains(['>', '\0']) => Err(format!("a bare > in {text:?}")),
        None => Ok(()),
    }
}

#[test]
fn what_is_not_well_formed_is_told() {
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("<p>one",              "never closed"),
        ("<p><b>one</p></b>",   "closes"),
        ("<p a=b>one</p>",      "no quotes"),
        ("<p>a & b</p>",        "bare &"),
        ("<script>a",           "</script> is missing"),
        ("<p a=\"b>one</p>",    "has no end"),
    ];
    for (html, want) in table {
        let told = Markup::read(&format!("<!DOCTYPE html>{html}")).unwrap_err();
        assert!(told.contains(want), "{html}: {told}");
    }
    assert!(Markup::read("<!DOCTYPE html><meta a=\"1\"><p b>x &lt; y</p>").is_ok());
}
