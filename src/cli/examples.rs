//! Two examples for each command: the end of its `--help` and of its man page.

pub(super) const SERVE: &str = "\
Examples:
  Serve a git repository or a directory on this machine:
    headwater serve --source ./config-repo
  Host a repository that users push to, with a first commit:
    headwater serve --source hosted:main --seed ./config-repo";

pub(super) const GET: &str = "\
Examples:
  Ask a running server, and show the place of each value:
    headwater get product prod --url http://127.0.0.1:8888
  Read a repository without a server, as YAML:
    headwater get product prod --source ./config-repo --output yaml";

pub(super) const WATCH: &str = "\
Examples:
  Print each change, with the keys that differ:
    headwater watch orders prod
  Run a command after each change:
    headwater watch orders prod --exec 'systemctl reload orders'";

pub(super) const RUN: &str = "\
Examples:
  Start a program with its configuration as environment variables:
    headwater run orders prod -- ./orders
  Render a file, and signal the program when the file changes:
    headwater run proxy prod --file nginx.tmpl:nginx.conf --signal HUP -- nginx -c nginx.conf";

pub(super) const EXPLAIN: &str = "\
Examples:
  Show the place that sets a key, and the values that it overrides:
    headwater explain server.port product prod --source ./config-repo
  Show all keys with a prefix, for programs:
    headwater explain catalogue. product prod --source ./config-repo --output json";

pub(super) const DIFF: &str = "\
Examples:
  Compare two branches for every known environment:
    headwater diff main release --source ./config-repo
  Compare the values of one service:
    headwater diff v1.4 v1.5 --source ./config-repo --application orders --values";

pub(super) const CHECK: &str = "\
Examples:
  Check a directory or a repository, for example in its own CI:
    headwater check --toml ./config-repo
  Report only the problems that a branch adds to main:
    headwater check ./config-repo --label feature --base main";

pub(super) const COPY: &str = "\
Examples:
  Copy a directory into a new git repository:
    headwater copy ./config-repo ./config.git
  Copy a branch of a remote repository to etcd:
    headwater copy https://git.example.org/config.git etcd://etcd-1:2379/config --label main";

pub(super) const COMPARE: &str = "\
Examples:
  Compare a running Spring Cloud Config Server with a repository:
    headwater compare http://config.example.org:8888 ./config.git
  Compare two applications on one branch, with credentials:
    headwater compare https://config.example.org ./config.git --label main --application orders \
--application cart --password-file password";

pub(super) const SEAL: &str = "\
Examples:
  Make a key, and name its file in secrets.seal_key_files of the settings:
    headwater seal --new-key seal-2027
  Seal a value for the files of an application. The command reads the value:
    headwater seal --key-file seal-2027 --for orders db.password";

pub(super) const STATUS: &str = "\
Examples:
  Show the replicas of a running server:
    headwater status --url http://127.0.0.1:8888
  Ask several servers, for a script:
    headwater status --url http://config-1:8888,http://config-2:8888 --output json";

pub(super) const FLEET: &str = "\
Examples:
  Show how many instances of a service run the present configuration:
    headwater fleet product
  Show what one instance reports, for programs:
    headwater fleet product --instance web-3 --output json";

pub(super) const ROLLOUT: &str = "\
Examples:
  List the rollouts of a server:
    headwater rollout
  Give every instance a change now, with the reason:
    headwater rollout promote r-7f3a2c91d0 --because 'the fault is fixed elsewhere'";

pub(super) const ROLLOUT_LIST: &str = "\
Examples:
  List the rollouts of a server:
    headwater rollout list
  List them for programs:
    headwater rollout list --output json";

pub(super) const ROLLOUT_STATUS: &str = "\
Examples:
  Show the only rollout that runs:
    headwater rollout status
  Show one by the beginning of its id:
    headwater rollout status 7f3a --url http://127.0.0.1:8888";

pub(super) const ROLLOUT_PLAN: &str = "\
Examples:
  Show what a push of the current commit would do:
    headwater rollout plan
  Show what a push of a branch would do, with another plan:
    headwater rollout plan feature --branch main --push-option plan=careful";

pub(super) const ROLLOUT_PAUSE: &str = "\
Examples:
  Stop the only rollout that runs:
    headwater rollout pause --because 'looking at the error rate'
  Stop one of several:
    headwater rollout pause r-7f3a2c91d0 --because 'looking at the error rate'";

pub(super) const ROLLOUT_RESUME: &str = "\
Examples:
  Continue the only rollout that runs:
    headwater rollout resume --because 'the error rate is normal'
  Continue one of several:
    headwater rollout resume r-7f3a2c91d0 --because 'the error rate is normal'";

pub(super) const ROLLOUT_PROMOTE: &str = "\
Examples:
  Give every instance the change now, after a question at the terminal:
    headwater rollout promote --because 'the other services wait for it'
  Do so in a script:
    headwater rollout promote r-7f3a2c91d0 --because 'change 4711' --yes";

pub(super) const ROLLOUT_ABORT: &str = "\
Examples:
  Roll the only rollout back that runs:
    headwater rollout abort --because 'the canary shows wrong prices'
  Roll one of several back:
    headwater rollout abort r-7f3a2c91d0 --because 'the canary shows wrong prices'";

pub(super) const ROLLOUT_RETRY: &str = "\
Examples:
  Begin the only withheld rollout again:
    headwater rollout retry --because 'the canary failed for another reason'
  Do so in a script:
    headwater rollout retry r-7f3a2c91d0 --because 'change 4711' --yes";

pub(super) const TOKEN: &str = "\
Examples:
  Make a token, and the line for the policy:
    headwater token new orders
  Make a token that expires, and keep it in a file of the service:
    headwater token new orders --expires 2099-03-01 > orders-token";

pub(super) const TOKEN_NEW: &str = TOKEN;

pub(super) const POLICY: &str = "\
Examples:
  Check a policy before the server reads it:
    headwater policy check policy.toml
  Show why a principal may not read an environment:
    headwater policy explain policy.toml orders read billing/prod";

pub(super) const POLICY_CHECK: &str = "\
Examples:
  Check a policy before the server reads it:
    headwater policy check policy.toml
  Check the file that a server reads:
    headwater policy check /etc/headwater/policy.toml";

pub(super) const POLICY_TEST: &str = "\
Examples:
  Test a policy against its own [[expect]] tables:
    headwater policy test policy.toml
  Test it against those of another file:
    headwater policy test policy.toml --expect expectations.toml";

pub(super) const POLICY_DIFF: &str = "\
Examples:
  Show what a change grants and removes:
    headwater policy diff policy.toml new.toml
  Show what a branch of a repository changes:
    headwater policy diff main/policy.toml feature/policy.toml";

pub(super) const POLICY_EXPLAIN: &str = "\
Examples:
  Show why a principal may not read an environment:
    headwater policy explain policy.toml orders read billing/prod
  Show whether a push of one file is allowed:
    headwater policy explain policy.toml payments-ci push payments.yml main";

pub(super) const AUDIT: &str = "\
Examples:
  Verify a trail with its renamed files:
    headwater audit verify audit.jsonl.000000004711 audit.jsonl
  List the pushes of a principal since a day:
    headwater audit query audit.jsonl --event push --principal payments-ci --since 2026-11-01";

pub(super) const AUDIT_VERIFY: &str = "\
Examples:
  Verify a trail with its renamed files:
    headwater audit verify audit.jsonl.000000004711 audit.jsonl
  Detect a removed end, with a head from the log of the server:
    headwater audit verify audit.jsonl --head \
2:8a3f2c5f1d0e4b7a9c6d8e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

pub(super) const AUDIT_QUERY: &str = "\
Examples:
  List the pushes of a principal since a day:
    headwater audit query audit.jsonl --event push --principal payments-ci --since 2026-11-01
  Print every read of opened values of an application, for programs:
    headwater audit query audit.jsonl --event open --application billing --output json";

pub(super) const COMPLETIONS: &str = "\
Examples:
  Print the completions for bash:
    headwater completions bash
  Write the completions for zsh to a file:
    headwater completions zsh > _headwater";

pub(super) const MAN: &str = "\
Examples:
  Write the pages into this directory:
    headwater man .
  Write them where man finds them:
    headwater man ~/.local/share/man/man1";
