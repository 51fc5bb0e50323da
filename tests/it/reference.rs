//! `docs/reference.md` says what the program says of itself. `UPDATE_REFERENCE=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

use clap::CommandFactory;
use headwater::cli::Cli;
use headwater::settings::DEFAULT_FILE;

const HEAD: &str = "# Reference

What the program says of itself; written by `UPDATE_REFERENCE=1 cargo test --test it reference`.

Settings come from defaults, then `headwater.toml`, then `HEADWATER_…` variables, then flags; what belongs to
one source only, but for its address, stands in the file. Exit codes: 0 done, 1 the answer is no, 2 it
did not work; `run` ends with the code of its program. `HEADWATER_LOG` says how much is logged (`info`, `debug`, `headwater=trace`).
";

const LIMITS: &str = "
## Limits

| what | limit |
| --- | --- |
| a configuration file | 4 MB (TOML 256 KB), 1,000 documents, 100,000 flat keys, 50 levels |
| YAML nodes; nodes after aliases and merges | 500,000; 1,000,000 |
| a file that is served as text or bytes | 16 MB |
| a request's path; names or profiles in it | 8 KB; 64 |
| live labels; answers kept; paths that these looked for | 1,000; 20,000; 2,000,000 |
| resolutions at a time; requests that wait for one | 8; 2,048, then 503 |
| ancestors looked at for a last good revision | 1,000 |
| a directory source | 256 MB, 100,000 entries |
| instances; one that is not heard of; its name | 20,000; 15 minutes; 128 bytes |
| watchers; wait of a long poll; pause between heartbeats | 20,000; 45 s; 15 s |
| pushes at a time; clones and fetches; one of them | 8; 32, then 503; 15 minutes |
| references in a push; wait for the push before; next piece of a body | 1,000; 60 s; 30 s |
| a pack; a request for a clone or fetch, decoded | `push.pack_bytes_max`; 16 MB |
| `run`: a rendered file; steps of a template; a check, a reload; a variable, all of them | 16 MB; 10,000,000; 60 s; 128 KB, 1 MB |
| request headers; idle connection; unacknowledged data | 5 s; 75 s; 20 s |

## Metrics

| name | meaning |
| --- | --- |
| `headwater_http_requests_total{route,status}` | requests answered |
| `headwater_labels`, `headwater_environments` | labels that are served, environments kept ready |
| `headwater_held_back` | environments whose newest revision cannot be served |
| `headwater_stale_seconds` | longest time a source has not been heard of |
| `headwater_publishes`, `headwater_refreshed` | moves of labels, environments made anew by them |
| `headwater_resolved`, `headwater_parsed_files` | environments asked for the first time, files parsed |
| `headwater_watchers` | event streams and long polls that are open |
| `headwater_source_failures` | failed attempts to follow a source |
";

#[test]
fn the_reference_page_is_what_the_program_says() {
    let mut text = HEAD.to_owned();
    let mut command = Cli::command()
        .term_width(100)
        .mut_subcommands(|verb| verb.mut_args(|argument| argument.hide_env_values(true)));
    command.build();
    for verb in command.get_subcommands_mut() {
        let help = verb.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let name = verb.get_name();
        write!(text, "\n## headwater {name}\n\n```text\n{}\n```\n", lines.join("\n")).unwrap();
    }
    write!(text, "\n## headwater.toml\n\n```toml\n{DEFAULT_FILE}```\n").unwrap();
    text.push_str(LIMITS);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/reference.md is old: UPDATE_REFERENCE=1 writes it anew");
}
