//! Uploaded files, and files as resources of a session.

use anyhow::{Result, ensure};
use perennial_tests::client::id;
use serde_json::{Value, json};

use crate::house::House;

/// Uploads as the official SDKs do.
async fn upload(house: &House, name: &str, content: &[u8], key: Option<&str>) -> Result<(u16, Value)> {
    let head = format!(
        "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/csv\r\n\r\n"
    );
    let body = [head.as_bytes(), content, b"\r\n--b-1--\r\n"].concat();
    let mut request = house
        .client()?
        .request("POST", "/v1/files")
        .header("content-type", "multipart/form-data; boundary=b-1")
        .body(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = house.client()?.send(request).await?;
    Ok((answer.status, answer.body))
}

#[tokio::test]
async fn a_file_is_uploaded_and_in_the_sessions_folder() -> Result<()> {
    let house = House::start().await?;
    let client = house.client()?;
    let content = b"a,b\r\n\0\xff--b-\n";
    let (status, file) = upload(&house, "data.csv", content, Some("once")).await?;
    ensure!(
        status == 200 && file["filename"] == "data.csv" && file["size_bytes"] == 12 && file["mime_type"] == "text/csv",
        "{file}"
    );
    ensure!(file.get("sha256").is_none(), "{file}");
    let (_, again) = upload(&house, "data.csv", content, Some("once")).await?;
    ensure!(again == file, "{again}");
    let (status, _) = upload(&house, "other.csv", content, Some("once")).await?;
    ensure!(status == 422);
    let file = id(&file)?;
    let request = client.request("GET", &format!("/v1/files/{file}/content"));
    let bytes = request.send().await?.bytes().await?;
    ensure!(bytes.as_ref() == content);
    let resources = json!([{"type": "file", "file_id": file}, {"type": "file", "file_id": file, "mount_path": "/workspace/in/x.csv"}]);
    let session = house.session(&json!({"type": "local"}), &resources).await?;
    let shown = client.get(&format!("/v1/sessions/{session}")).await?.ok()?;
    ensure!(
        shown["resources"][0]["file_id"] == file.as_str() && !shown["resources"].to_string().contains("sha256"),
        "{shown}"
    );
    let told = house
        .bash(&session, "cmp uploads/data.csv in/x.csv && stat -c '%a %s' in/x.csv")
        .await?;
    ensure!(told == "444 12\n", "{told}");
    // What is deleted is gone for new sessions, and stays what it was for others.
    client
        .send(client.request("DELETE", &format!("/v1/files/{file}")))
        .await?
        .ok()?;
    ensure!(client.get(&format!("/v1/files/{file}")).await?.status == 404);
    let told = house.bash(&session, "stat -c %s in/x.csv").await?;
    ensure!(told == "12\n", "{told}");
    Ok(())
}

#[tokio::test]
async fn files_are_listed_in_pages_and_what_is_none_is_refused() -> Result<()> {
    let house = House::start().await?;
    let client = house.client()?;
    for name in ["1", "2", "3"] {
        ensure!(upload(&house, name, b"", None).await?.0 == 200);
    }
    let first = client.get("/v1/files?limit=2").await?.ok()?;
    ensure!(
        first["has_more"] == true && first["data"][0]["filename"] == "3" && first["last_id"] == first["data"][1]["id"],
        "{first}"
    );
    for query in [
        format!("page={}", first["next_page"].as_str().unwrap_or_default()),
        format!("after_id={}", first["last_id"].as_str().unwrap_or_default()),
    ] {
        let rest = client.get(&format!("/v1/files?limit=2&{query}")).await?.ok()?;
        ensure!(
            rest["has_more"] == false && rest["data"][0]["filename"] == "1" && rest["next_page"].is_null(),
            "{rest}"
        );
    }
    for name in ["..", ".git", ""] {
        ensure!(upload(&house, name, b"", None).await?.0 == 400, "{name}");
    }
    let plain = client
        .request("POST", "/v1/files")
        .header("content-type", "text/plain")
        .body("x");
    ensure!(client.send(plain).await?.status == 400);
    let large = upload(&house, "large", &vec![b'x'; 9 << 20], None).await;
    ensure!(large.is_err() || large?.0 == 413);
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    for resource in [
        json!({"type": "file", "file_id": "file_00000000000000000000000000000001"}),
        json!({"type": "file", "file_id": first["data"][0]["id"], "mount_path": "/etc/passwd"}),
        json!({"type": "memory_store", "memory_store_id": "m"}),
    ] {
        let body = json!({"agent": agent, "environment_id": environment, "resources": [resource]});
        let answer = client.post("/v1/sessions", &body).await?;
        ensure!(answer.status == 400, "{resource}: {:?}", answer.body);
    }
    Ok(())
}
