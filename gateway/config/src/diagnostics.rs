//! What is wrong with a configuration file, all of it, with the place.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::{error, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// 1-based; 0 where the finding has no place in the file, such as a file that cannot be read.
    pub line: usize,
    /// 1-based, in characters; 0 like `line`.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    span: Option<Range<usize>>,
}

/// All findings of one file, in the order of the file.
#[derive(Clone)]
pub struct Diagnostics {
    file: String,
    source: Arc<str>,
    list: Vec<Diagnostic>,
}

/// Collects findings while a file is read. Places are byte ranges until the end.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    found: Vec<(Severity, Range<usize>, String, Option<String>)>,
    errors: usize,
}

impl Sink {
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors += 1;
        self.push(Severity::Error, span, message.into(), help.into());
    }

    pub fn warning(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), help.into());
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String, help: String) {
        self.found.push((severity, span, message, (!help.is_empty()).then_some(help)));
    }

    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Keeps the findings at places that `judged` says yes to and that are on no line with a syntax error, which they
    /// would only repeat.
    pub fn keep(&mut self, source: &str, judged: impl Fn(&Range<usize>) -> bool, syntax: &[Range<usize>]) {
        let lines = Lines::of(source);
        let bad: BTreeSet<usize> = syntax.iter().flat_map(|s| lines.index(s.start)..=lines.index(s.end)).collect();
        self.found.retain(|(_, span, ..)| judged(span) && !bad.contains(&lines.index(span.start)));
        self.errors = self.found.iter().filter(|(severity, ..)| *severity == Severity::Error).count();
    }

    pub fn finish(mut self, file: &str, source: &str) -> Diagnostics {
        self.found.sort_by_key(|(_, span, ..)| span.start);
        let lines = Lines::of(source);
        let list = self.found.into_iter().map(|(severity, span, message, help)| {
            let (line, column) = lines.place(span.start);
            Diagnostic { severity, line, column, message, help, span: Some(span) }
        });
        Diagnostics { file: file.to_owned(), list: list.collect(), source: source.into() }
    }
}

/// Where the lines of a text begin.
struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    fn of(source: &'s str) -> Self {
        let after_newlines = source.match_indices('\n').map(|(i, _)| i + 1);
        Self { source, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// 0-based line of a byte offset.
    fn index(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Line and column, 1-based, of a byte offset.
    fn place(&self, at: usize) -> (usize, usize) {
        let index = self.index(at);
        let start = self.starts.get(index).copied().unwrap_or(0);
        let before = self.source.get(start..at.min(self.source.len())).unwrap_or("");
        (index + 1, before.chars().count() + 1)
    }
}

impl Diagnostics {
    /// A finding about the file as a whole.
    pub(crate) fn of_file(file: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), help.into());
        let help = (!help.is_empty()).then_some(help);
        let one = Diagnostic { severity: Severity::Error, line: 0, column: 0, message, help, span: None };
        Self { file: file.to_owned(), source: "".into(), list: vec![one] }
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    pub fn errors(&self) -> usize {
        self.list.iter().filter(|d| d.severity == Severity::Error).count()
    }

    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All findings for a reader: [`Self::graphical`] on a terminal, else as [`fmt::Display`] gives them. Ends with a
    /// newline unless empty.
    pub fn report(&self, terminal: bool) -> String {
        match terminal {
            _ if self.is_empty() => String::new(),
            true => self.graphical(),
            false => format!("{self}\n"),
        }
    }

    /// For a terminal: the line of the file with the place marked. Ends with a newline unless empty.
    pub fn graphical(&self) -> String {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(120);
        let source = NamedSource::new(&self.file, Arc::clone(&self.source));
        let mut text = String::new();
        for one in &self.list {
            let report = Report { one, source: &source };
            if handler.render_report(&mut text, &report).is_err() {
                text.push_str(&format!("{}\n", Plain(&self.file, one)));
            }
        }
        text
    }
}

impl fmt::Display for Diagnostics {
    /// For logs and pipes: `file:line:column: error: what is wrong`, then `  help: what would be right`, without a last
    /// newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, one) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", Plain(&self.file, one))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Diagnostics {}

struct Plain<'a>(&'a str, &'a Diagnostic);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(file, one) = self;
        f.write_str(file)?;
        if one.line > 0 {
            write!(f, ":{}:{}", one.line, one.column)?;
        }
        write!(f, ": {}: {}", one.severity, one.message)?;
        match &one.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// One finding in miette's terms.
struct Report<'a> {
    one: &'a Diagnostic,
    source: &'a NamedSource<Arc<str>>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one.message)
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.one.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.one.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.one.span.as_ref().map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.one.span.clone()?;
        let label = (!span.is_empty()).then(|| "here".to_owned());
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(label, span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let place = |text, at| Lines::of(text).place(at);
        assert_eq!(place("ab\nçd", 0), (1, 1));
        assert_eq!(place("ab\nçd", 3), (2, 1));
        assert_eq!(place("ab\nçd", 5), (2, 2));
        assert_eq!(place("ab", 99), (1, 3));
    }

    #[test]
    fn file_findings_have_no_place() {
        let text = Diagnostics::of_file("/x.toml", "cannot be read", "make it readable").to_string();
        assert_eq!(text, "/x.toml: error: cannot be read\n  help: make it readable");
    }

    #[test]
    fn graphical_shows_the_line() {
        let mut sink = Sink::default();
        sink.error(4..5, "is odd", "is even");
        let text = sink.finish("c.toml", "a = 1\n").graphical();
        assert!(text.contains("c.toml:1:5") && text.contains("a = 1") && text.contains("is even"), "{text}");
    }
}
