//! Recognises SOPS files in YAML and JSON: files with a `sops` map at the top.
//!
//! The parse keeps the text of the file, because the values are opened together. Nothing is opened here.

use std::sync::Arc;

use crate::model::{Document, Property, Scalar, SopsFile, Value};

/// The beginning of each sealed value.
const MARKER: &str = "ENC[AES256_GCM,";
/// The keys of metadata. A file from which one was taken out is a broken SOPS file, and not another file.
const METADATA_KEYS: [&str; 3] = ["sops.mac", "sops.lastmodified", "sops.version"];
/// The map with the metadata.
const METADATA: &str = "sops";

/// Marks the sealed values of a SOPS file, and removes its metadata. Other files stay as they are.
pub(super) fn recognise(documents: &mut [Document], bytes: &[u8], is_json: bool) {
    let properties = || documents.iter().flat_map(|document| &document.properties);
    let has_sealed = properties().any(|property| is_sealed(&property.value));
    // Other files are recognised by their values, without a search for keys.
    if !has_sealed || !properties().any(|property| METADATA_KEYS.contains(&&*property.key)) {
        return;
    }
    // A file in another encoding is no file that sops wrote.
    let Ok(text) = str::from_utf8(bytes) else { return };
    let file = Arc::new(SopsFile { text: text.into(), is_json });
    for document in documents {
        document.properties.retain(|property| !is_metadata(&property.key));
        document.properties.iter_mut().for_each(mark);
        document.sops = Some(Arc::clone(&file));
    }
}

fn is_metadata(key: &str) -> bool {
    let rest = key.strip_prefix(METADATA);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_sealed(value: &Value) -> bool {
    matches!(value, Value::Plain(Scalar::String(text)) if text.starts_with(MARKER))
}

fn mark(property: &mut Property) {
    if let Value::Plain(Scalar::String(text)) = &mut property.value
        && text.starts_with(MARKER)
    {
        property.value = Value::Sealed(std::mem::take(text));
    }
}

#[cfg(test)]
mod tests {
    use crate::format::{Format, parse};
    use crate::model::Value;

    const FILE: &str = "db:\n    password: ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]\n    user: ada\n#ENC[AES256_GCM,data:a,iv:b,tag:c,type:comment]\n\
                        sops:\n    age:\n        - recipient: age1\n          enc: x\n    lastmodified: \"2026-01-01T00:00:00Z\"\n    mac: ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]\n";

    #[test]
    fn a_sops_file_has_sealed_values_and_no_metadata() {
        let documents = parse(Format::Yaml, FILE.as_bytes()).unwrap();
        let [document] = &*documents else { panic!("{documents:?}") };
        let shown: Vec<_> = document.properties.iter().map(|it| (&*it.key, &it.value)).collect();
        assert!(
            matches!(shown[..], [("db.password", Value::Sealed(_)), ("db.user", Value::Plain(_))]),
            "{shown:?}"
        );
        assert_eq!(&*document.sops.as_ref().unwrap().text, FILE);
    }

    #[test]
    fn all_documents_of_a_file_share_its_text() {
        let text = format!("{FILE}---\n{FILE}");
        let documents = parse(Format::Yaml, text.as_bytes()).unwrap();
        assert_eq!(documents.len(), 2);
        assert!(documents.iter().all(|it| *it.sops.as_ref().unwrap().text == *text));
    }

    #[test]
    fn other_files_keep_all_their_properties() {
        for text in [
            "sops:\n  mac: x\n  lastmodified: y\n",
            "sops:\n  tool: ENC[AES256_GCM,x]\n",
            "a: ENC[AES256_GCM,x]\nsops: true\n",
        ] {
            let documents = parse(Format::Yaml, text.as_bytes()).unwrap();
            assert!(documents[0].sops.is_none(), "{text}");
            let sealed = |value: &Value| matches!(value, Value::Sealed(_));
            assert!(!documents[0].properties.iter().any(|it| sealed(&it.value)), "{text}");
            assert!(documents[0].properties.iter().any(|it| it.key.starts_with("sops")), "{text}");
        }
    }
}
