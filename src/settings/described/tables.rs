//! The text, the default and the flag of each setting. Pure data.

use super::{PrintedValue, Setting, SettingsTable};

/// The tables of the settings file, in their order.
pub(super) const TABLES: [SettingsTable; 14] = [
    SettingsTable { name: "", about: "", settings: &SERVER },
    SettingsTable {
        name: "access",
        about: "Access by a policy: principals, and what each of them may do. Without a policy, the tokens decide.",
        settings: &ACCESS,
    },
    SettingsTable {
        name: "audit",
        about: "The audit trail: who changed, opened or was denied what. Without file and stdout, nothing is recorded.",
        settings: &AUDIT,
    },
    SettingsTable {
        name: "push",
        about: "Rules for pushes to hosted repositories.",
        settings: &PUSH,
    },
    SettingsTable {
        name: "rollout",
        about: "Staged rollouts of changes in hosted repositories. A plan file on a branch (.headwater/rollout.toml) has \
                precedence.",
        settings: &ROLLOUT,
    },
    SettingsTable {
        name: "memory",
        about: "Memory for answers and texts, in bytes. The defaults are shares of the memory of the container or the \
                machine.",
        settings: &MEMORY,
    },
    SettingsTable {
        name: "watch",
        about: "Limits for event streams and long polls together.",
        settings: &WATCH,
    },
    SettingsTable {
        name: "share",
        about: "Replicas: the etcd cluster through which servers know each other and share the repositories that they \
                host.",
        settings: &SHARE,
    },
    SettingsTable {
        name: "fleet",
        about: "The instances of services. A server with a data directory records which configuration each of them ran.",
        settings: &FLEET,
    },
    SettingsTable {
        name: "monitor",
        about: "Webhooks at /monitor. Without a secret, any client can make the server look for changes, and nothing \
                else.",
        settings: &MONITOR,
    },
    SettingsTable {
        name: "secrets",
        about: "Keys for sealed values. With a key, answers contain the opened values. Without a key, these keep their \
                marker. Users other than owner and group must not have access to the files.",
        settings: &SECRETS,
    },
    SettingsTable {
        name: "tracing",
        about: "Traces of pushes, and of reads whose client samples them.",
        settings: &TRACING,
    },
    SettingsTable {
        name: "overrides",
        about: "Properties of every environment, above all others.",
        settings: &[],
    },
    SettingsTable {
        name: SOURCES,
        about: "Sources of configuration. Several form a composite, in which the first source wins.",
        settings: &SOURCE,
    },
];

/// The table that may occur several times.
pub(super) const SOURCES: &str = "source";

/// Flags without a setting in the file.
pub(super) const FLAGS_ONLY: [(&str, &str); 2] = [
    ("config", "Settings file [default: headwater.toml, if it exists]"),
    (
        "override",
        "A property of every environment, above all others. The variable holds one on each line",
    ),
];

const SERVER: [Setting; 12] = [
    Setting {
        name: "listen",
        summary: "Address and port to listen on. Port 0 takes a free port",
        value: PrintedValue::Default("\"127.0.0.1:8888\""),
        flag: "listen",
        ..NONE
    },
    Setting {
        name: "prefix",
        summary: "Path before all other paths, such as /config",
        details: "Health and metrics stay where they are.",
        value: PrintedValue::Default("\"\""),
        flag: "prefix",
        ..NONE
    },
    Setting {
        name: "tls_cert",
        summary: "Certificate chain (PEM). With the private key, the server speaks TLS only",
        details: "Both files are read again when they change.",
        value: PrintedValue::Example("\"tls.crt\""),
        flag: "tls-cert",
        ..NONE
    },
    Setting {
        name: "tls_key",
        summary: "Private key (PEM) of the certificate",
        value: PrintedValue::Example("\"tls.key\""),
        flag: "tls-key",
        ..NONE
    },
    Setting {
        name: "tls_client_ca",
        summary: "Certificate authorities (PEM) that issue the certificates of clients",
        details: "It is read again when it changes, as is tls_client_crl. Connections whose certificate is no longer valid \
                  are closed.",
        value: PrintedValue::Example("\"clients-ca.crt\""),
        ..NONE
    },
    Setting {
        name: "tls_client_auth",
        summary: "Certificates of clients: \"off\", \"offered\" (a client may show one) or \"required\"",
        details: "With a policy, the alternative name (SAN) of the certificate selects the principal.",
        value: PrintedValue::Default("\"off\""),
        ..NONE
    },
    Setting {
        name: "tls_client_crl",
        summary: "Revocation lists (PEM) of all authorities in the chains of clients",
        details: "An outdated list rejects every client.",
        value: PrintedValue::Example("\"clients.crl\""),
        ..NONE
    },
    Setting {
        name: "token_file",
        summary: "File with the token that a reader must present",
        details: "A reader presents it as Bearer, or as the password of Basic.",
        value: PrintedValue::Example("\"token\""),
        flag: "token-file",
        ..NONE
    },
    Setting {
        name: "workers",
        summary: "Threads that answer requests",
        value: PrintedValue::Example("2"),
        default: "one for each processor",
        flag: "workers",
        ..NONE
    },
    Setting {
        name: "accept_empty",
        summary: "Return 200 when no property source matches. When false, return 404",
        value: PrintedValue::Default("true"),
        flag: "accept-empty",
        ..NONE
    },
    Setting {
        name: "fail_on_composite_error",
        summary: "Fail the answer when one source fails. When false, leave that source out",
        value: PrintedValue::Default("true"),
        flag: "fail-on-composite-error",
        ..NONE
    },
    Setting {
        name: "data",
        summary: "Directory for hosted repositories and mirrors. Made when a source needs it",
        details: "One server uses it at a time.",
        value: PrintedValue::Default("\"./headwater-data\""),
        flag: "data",
        ..NONE
    },
];

const ACCESS: [Setting; 5] = [
    Setting {
        name: "policy_file",
        summary: "File with the policy. It is read again when it changes, and excludes token_file and the push token",
        details: "No other user may be able to write it. A file that cannot be used leaves the previous policy in force.",
        value: PrintedValue::Example("\"policy.toml\""),
        ..NONE
    },
    Setting {
        name: "policy",
        summary: "Hosted repository with the policy, instead of a file. Only principals with the right admin can use it",
        details: "A push to it takes effect when it returns. It cannot be a source of configuration.",
        value: PrintedValue::Example("\"hosted:policy\""),
        ..NONE
    },
    Setting {
        name: "policy_path",
        summary: "Path of the policy in that repository. The server reads it at the tip of the default branch",
        value: PrintedValue::Default("\"policy.toml\""),
        ..NONE
    },
    Setting {
        name: "policy_seed",
        summary: "Directory whose files become the first commit of that repository, if it has none",
        details: "It has no effect once the repository has a commit.",
        value: PrintedValue::Example("\"policy-seed\""),
        ..NONE
    },
    Setting {
        name: "behind_tls_proxy",
        summary: "A proxy in front of this server speaks TLS with clients",
        details: "With a policy and without TLS, the server listens on an address beyond loopback only if this is true.",
        value: PrintedValue::Default("false"),
        ..NONE
    },
];

const AUDIT: [Setting; 5] = [
    Setting {
        name: "file",
        summary: "File with the trail, one JSON object in each line. Each server needs a file of its own",
        details: "The server creates it with mode 0600. No other user may be able to write it.",
        value: PrintedValue::Example("\"audit.jsonl\""),
        ..NONE
    },
    Setting {
        name: "stdout",
        summary: "Write the lines to standard output, too",
        value: PrintedValue::Default("false"),
        ..NONE
    },
    Setting {
        name: "rotate_mib",
        summary: "Size in MiB at which the file is renamed and a new one begins",
        value: PrintedValue::Default("64"),
        ..NONE
    },
    Setting {
        name: "keep",
        summary: "Renamed files to keep. The oldest ones are removed. 0 keeps all",
        value: PrintedValue::Default("32"),
        ..NONE
    },
    Setting {
        name: "required",
        summary: "Reject reads of opened values with 503 while the trail cannot be written",
        details: "Without it, such reads continue and are counted. Pushes, changes of the policy, /encrypt and /decrypt are \
                  rejected in any case.",
        value: PrintedValue::Default("false"),
        ..NONE
    },
];

const PUSH: [Setting; 10] = [
    Setting {
        name: "token_file",
        summary: "File with the token that a push must present",
        details: "Git presents it as the password of Basic. Without a token, the server accepts pushes from this machine \
                  only. The variable HEADWATER_PUSH_TOKEN can hold the token itself.",
        value: PrintedValue::Example("\"push-token\""),
        flag: "push-token-file",
        ..NONE
    },
    Setting {
        name: "checks",
        summary: "Treatment of a push with problems: \"refuse\" rejects it, \"warn\" accepts it with a warning",
        value: PrintedValue::Default("\"refuse\""),
        ..NONE
    },
    Setting {
        name: "strict",
        summary: "Treat a placeholder without a value as a problem. When false, it is a warning",
        value: PrintedValue::Default("false"),
        ..NONE
    },
    Setting {
        name: "allow_force",
        summary: "Allow a branch to move to a commit that does not follow its present one, and a tag to move at all",
        value: PrintedValue::Default("false"),
        ..NONE
    },
    Setting {
        name: "allow_delete",
        summary: "Allow branches and tags to be deleted",
        value: PrintedValue::Default("false"),
        ..NONE
    },
    Setting {
        name: "check_seconds_max",
        summary: "Time limit for the checks of one push, in seconds",
        value: PrintedValue::Default("30"),
        ..NONE
    },
    Setting {
        name: "unfinished_checks",
        summary: "Treatment of a push whose checks exceed the limit: \"reject\", or \"accept\" to publish it unchecked",
        value: PrintedValue::Default("\"reject\""),
        ..NONE
    },
    Setting {
        name: "try_seconds",
        summary: "Time in which running instances answer whether they would accept a push, in seconds. 0 asks none",
        value: PrintedValue::Default("5"),
        ..NONE
    },
    Setting {
        name: "pack_bytes_max",
        summary: "Largest pack of one push, in bytes",
        value: PrintedValue::Default("268435456"),
        ..NONE
    },
    Setting {
        name: "contract_hours",
        summary: "Hours for which the contract of a build counts after its last instance",
        value: PrintedValue::Default("24"),
        ..NONE
    },
];

const ROLLOUT: [Setting; 3] = [
    Setting {
        name: "default",
        summary: "Plan of a hosted branch without a plan file: \"auto\", \"careful\", \"all-at-once\" or \"off\" for no \
                  rollouts",
        details: "With \"auto\", a change of a service of which two instances acknowledge goes to 5 % of them first, and to all \
                  10 s later.",
        value: PrintedValue::Default("\"auto\""),
        flag: "rollout-default",
        ..NONE
    },
    Setting {
        name: "now",
        summary: "Pushes that skip the stages with -o now: \"allowed\", \"reason\" (allowed with -o reason) or \"denied\"",
        value: PrintedValue::Default("\"allowed\""),
        ..NONE
    },
    Setting {
        name: "check",
        summary: "Measurements that a plan can name. Each can be a table [[rollout.check]]",
        details: "Its settings are name, one of prometheus, http and exec, and every (\"30s\"), consecutive (2), samples (3), \
                  ca_file and token_file. A prometheus has query with min or max, or compare = \"errors\" with bad and all, \
                  or compare = \"latency\" with query and max_ratio (1.25).",
        value: PrintedValue::Example(
            "[{ name = \"smoke\", exec = [\"/usr/local/bin/test-shop\"] }]",
        ),
        ..NONE
    },
];

const MEMORY: [Setting; 2] = [
    Setting {
        name: "answers_bytes_max",
        summary: "Limit for all answers. Beyond it, the server drops answers that no client requests",
        value: PrintedValue::Example("1073741824"),
        default: "a quarter of the memory, at most 1073741824",
        ..NONE
    },
    Setting {
        name: "texts_bytes_max",
        summary: "Limit for files and flat forms while they are rendered and sent. A request that finds no room within \
                  ten seconds gets 503",
        value: PrintedValue::Example("536870912"),
        default: "an eighth of the memory, at most 536870912",
        ..NONE
    },
];

const WATCH: [Setting; 3] = [
    Setting {
        name: "watchers_max",
        summary: "Most watchers at a time",
        value: PrintedValue::Default("20000"),
        ..NONE
    },
    Setting {
        name: "watchers_per_client_max",
        summary: "Most watchers of one client address at a time",
        value: PrintedValue::Example("200"),
        default: "no limit",
        ..NONE
    },
    Setting {
        name: "trusted_proxies",
        summary: "Proxies whose X-Forwarded-For names the client address, such as \"10.0.0.1\" or \"10.0.0.0/8\"",
        value: PrintedValue::Default("[]"),
        ..NONE
    },
];

const FLEET: [Setting; 1] = [Setting {
    name: "history_days",
    summary: "Days for which the history of instances is kept in the data directory, with at most 1 GiB. 0 records none",
    value: PrintedValue::Default("30"),
    ..NONE
}];

const SHARE: [Setting; 7] = [
    Setting {
        name: "uri",
        summary: "The etcd cluster through which replicas know each other and share the repositories that they host",
        value: PrintedValue::Example("\"etcd://etcd-1:2379,etcd-2:2379,etcd-3:2379/headwater\""),
        default: "no replicas",
        flag: "share",
        ..NONE
    },
    Setting {
        name: "replica",
        summary: "Name of this replica",
        value: PrintedValue::Example("\"headwater-1\""),
        default: "the name of its host",
        flag: "replica",
        ..NONE
    },
    Setting {
        name: "address",
        summary: "URL under which the other replicas reach this one, to read its instances for /-/fleet",
        value: PrintedValue::Example("\"http://headwater-1:8888\""),
        default: "the address of the listener. A replica that listens on all addresses is looked for by its name",
        ..NONE
    },
    Setting {
        name: "credentials_file",
        summary: "File with a user name and a password for etcd, each on a line",
        details: "The variables HEADWATER_ETCD_USERNAME and HEADWATER_ETCD_PASSWORD can hold them.",
        value: PrintedValue::Example("\"etcd-credentials\""),
        ..NONE
    },
    Setting {
        name: "ca_file",
        summary: "Certificates (PEM) to trust. With them, the connection to etcd uses TLS",
        value: PrintedValue::Example("\"ca.crt\""),
        ..NONE
    },
    Setting {
        name: "client_cert_file",
        summary: "Certificate chain (PEM) that this server presents to etcd",
        value: PrintedValue::Example("\"client.crt\""),
        ..NONE
    },
    Setting {
        name: "client_key_file",
        summary: "Private key (PEM) of that certificate",
        value: PrintedValue::Example("\"client.key\""),
        ..NONE
    },
];

const MONITOR: [Setting; 1] = [Setting {
    name: "secret_file",
    summary: "File with secrets, one on each line. A call of /monitor must prove one of them",
    details: "A call proves a secret by the signature of its git host. The variable HEADWATER_MONITOR_SECRET can hold one \
              secret.",
    value: PrintedValue::Example("\"monitor-secret\""),
    flag: "monitor-secret-file",
    ..NONE
}];

const SECRETS: [Setting; 13] = [
    Setting {
        name: "key_files",
        summary: "Files with one key for {cipher} values each, newest first. All of them open values, and the first one \
                  seals",
        details: "A key is a passphrase or an RSA private key in PEM (PKCS#1 or PKCS#8), as in encrypt.key of Spring Cloud \
                  Config Server. The variable HEADWATER_ENCRYPT_KEY can hold one key itself.",
        value: PrintedValue::Default("[]"),
        ..NONE
    },
    Setting {
        name: "salt",
        summary: "Salt of passphrases, in hexadecimal",
        value: PrintedValue::Default("\"deadbeef\""),
        ..NONE
    },
    Setting {
        name: "keystore",
        summary: "Keystore with RSA keys, in JKS or PKCS#12. With it, the keystore seals and the key files only open",
        value: PrintedValue::Example("\"server.p12\""),
        ..NONE
    },
    Setting {
        name: "keystore_password_file",
        summary: "File with the password of the keystore",
        value: PrintedValue::Example("\"keystore-password\""),
        ..NONE
    },
    Setting {
        name: "alias",
        summary: "Entry of the keystore for values without {key:ALIAS}",
        value: PrintedValue::Example("\"config\""),
        ..NONE
    },
    Setting {
        name: "key_password_file",
        summary: "File with the password of that entry",
        value: PrintedValue::Example("\"key-password\""),
        default: "the password of the keystore",
        ..NONE
    },
    Setting {
        name: "rsa",
        summary: "Use of RSA with the keystore: algorithm \"default\" (PKCS#1) or \"oaep\", strong (GCM), and salt",
        value: PrintedValue::Default(
            "{ algorithm = \"default\", strong = false, salt = \"deadbeef\" }",
        ),
        ..NONE
    },
    Setting {
        name: "seal_key_files",
        summary: "Files with one key for {sealed} values each, newest first. headwater seal --new-key makes one",
        value: PrintedValue::Default("[]"),
        ..NONE
    },
    Setting {
        name: "age_identity_file",
        summary: "File with age identities, one on each line. They open SOPS files in YAML and JSON",
        value: PrintedValue::Example("\"age.txt\""),
        ..NONE
    },
    Setting {
        name: "directory",
        summary: "Directory with secrets, one in each file. {file}:NAME and {file}:NAME#KEY refer to them",
        details: "It can be a mounted Secret of Kubernetes or the credentials of systemd. The server reads the files again \
                  when they change.",
        value: PrintedValue::Example("\"/run/secrets/shop\""),
        ..NONE
    },
    Setting {
        name: "vault",
        summary: "Vaults that {vault}:PATH#KEY and {vault:NAME}:PATH#KEY refer to. Each can be a table [[secrets.vault]]",
        details: "Its settings are name, uri, mount (\"secret\"), kv_version (2), namespace, ca_file, poll_seconds (60), and \
                  auth with token_file, approle, kubernetes or jwt.",
        value: PrintedValue::Example(
            "[{ uri = \"http://127.0.0.1:8200\", auth = { token_file = \"vault-token\" } }]",
        ),
        ..NONE
    },
    Setting {
        name: "on_failure",
        summary: "Treatment of a value that does not open: \"spring\" replaces its key by invalid.KEY, and \"hold\" keeps the \
                  environment at its last good revision",
        value: PrintedValue::Default("\"spring\""),
        ..NONE
    },
    Setting {
        name: "decrypt_endpoint",
        summary: "Answer POST /decrypt. Every pusher, or principal with the right unseal, can then open any value",
        value: PrintedValue::Default("false"),
        ..NONE
    },
];

const TRACING: [Setting; 1] = [Setting {
    name: "otlp_endpoint",
    summary: "Address of a collector that receives traces in OTLP over HTTP, as JSON",
    details: "A collector that is slow or unreachable loses traces and delays nothing.",
    value: PrintedValue::Example("\"http://127.0.0.1:4318\""),
    ..NONE
}];

const SOURCE: [Setting; 19] = [
    Setting {
        name: "uri",
        summary: "A git repository or a directory, a git URL to mirror, hosted:NAME to host a repository, or \
                  etcd://HOST:PORT/PREFIX",
        details: "A git URL is https://, ssh://, user@host:path or http://. The server mirrors it in the background.",
        value: PrintedValue::Default("\"./config-repo\""),
        flag: "source",
        flag_note: "Several form a composite, in which the first source wins",
        ..NONE
    },
    Setting {
        name: "name",
        summary: "Stable base of the names of property sources",
        value: PrintedValue::Example("\"shop\""),
        default: "the uri",
        ..NONE
    },
    Setting {
        name: "default_label",
        summary: "Label of a request that names none",
        value: PrintedValue::Example("\"main\""),
        default: "for git, the branch of HEAD",
        ..NONE
    },
    Setting {
        name: "search_paths",
        summary: "Directories to search after the root, the last one winning",
        details: "They can contain {application}, {profile}, {label} and wildcards.",
        value: PrintedValue::Default("[]"),
        ..NONE
    },
    Setting {
        name: "patterns",
        summary: "Requests that this source answers, as application/profile. It answers all when the list is empty",
        value: PrintedValue::Default("[]"),
        ..NONE
    },
    Setting {
        name: "toml",
        summary: "Read .toml files as configuration",
        details: "They are below .yaml in precedence. Spring Cloud Config Server ignores such files.",
        value: PrintedValue::Default("true"),
        default: "true for ./config-repo and for repositories that a Headwater hosts, false for other sources",
        flag: "toml",
        ..NONE
    },
    Setting {
        name: "json",
        summary: "Read .json files as configuration",
        details: "They are below .toml in precedence.",
        value: PrintedValue::Default("false"),
        ..NONE
    },
    Setting {
        name: "seed",
        summary: "Directory whose files become the first commit of a new hosted repository",
        value: PrintedValue::Example("\"./config-repo\""),
        flag: "seed",
        ..NONE
    },
    Setting {
        name: "mirror",
        summary: "Mirror a repository at a path too, instead of reading it in place",
        value: PrintedValue::Default("false"),
        ..NONE
    },
    Setting {
        name: "follow_origin",
        summary: "For a clone at a path: true mirrors the remote of the clone and serves the mirror, and leaves the clone \
                  as it is",
        details: "Without the setting, the server serves the clone and reports that it does not fetch the remote. With \
                  false it does not report that, for a clone that another program fetches.",
        value: PrintedValue::Example("true"),
        ..NONE
    },
    Setting {
        name: "poll_seconds",
        summary: "Seconds between two looks at a mirrored remote. With 0, only a webhook causes a look",
        value: PrintedValue::Example("30"),
        ..NONE
    },
    Setting {
        name: "fetch_seconds_max",
        summary: "Time limit for one fetch, in seconds. The first copy can take ten times as long",
        value: PrintedValue::Example("120"),
        ..NONE
    },
    Setting {
        name: "fetch_bytes_max",
        summary: "Largest pack of one fetch, in bytes",
        value: PrintedValue::Example("2147483648"),
        ..NONE
    },
    Setting {
        name: "credentials_file",
        summary: "For https and etcd: file with a user name and a password or token, each on a line",
        details: "The variables HEADWATER_GIT_USERNAME and HEADWATER_GIT_PASSWORD serve remotes of one host that have no \
                  file. HEADWATER_ETCD_USERNAME and HEADWATER_ETCD_PASSWORD serve etcd.",
        value: PrintedValue::Example("\"git-credentials\""),
        ..NONE
    },
    Setting {
        name: "ca_file",
        summary: "For https and etcd: certificates (PEM) to trust",
        details: "For https they replace those of the system. For etcd they turn TLS on.",
        value: PrintedValue::Example("\"ca.crt\""),
        ..NONE
    },
    Setting {
        name: "client_cert_file",
        summary: "For etcd: certificate chain (PEM) that this server presents",
        value: PrintedValue::Example("\"client.crt\""),
        ..NONE
    },
    Setting {
        name: "client_key_file",
        summary: "For etcd: private key (PEM) of that certificate",
        value: PrintedValue::Example("\"client.key\""),
        ..NONE
    },
    Setting {
        name: "ssh_key_file",
        summary: "For ssh: private key",
        value: PrintedValue::Example("\"id_ed25519\""),
        ..NONE
    },
    Setting {
        name: "known_hosts_file",
        summary: "For ssh: file with the trusted host keys. A source needs both files or none",
        value: PrintedValue::Example("\"known_hosts\""),
        ..NONE
    },
];

/// A setting without a flag.
const NONE: Setting = Setting {
    name: "",
    summary: "",
    details: "",
    value: PrintedValue::Default(""),
    default: "",
    flag: "",
    flag_note: "",
};
