//! The types of callbacks in Python: what a worker imports from `kameo.<module>`.

use rm_process::callback::{CallbackStream, DynamicCallbackModule, TypedCallbackHandler};
use rm_process::{BackendOptions, ProcessManager, PythonExecutionError, SubprocessIpcBackend};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::support::{Child, end, handler, soon};

fn weekly() -> String {
    "1w".to_owned()
}

#[derive(Debug, Serialize, Deserialize)]
struct DataFetchRequest {
    symbol: String,
    #[serde(default = "weekly")]
    interval: String,
    limit: Option<u32>,
}

struct DataFetch;

#[async_trait::async_trait]
impl TypedCallbackHandler<DataFetchRequest> for DataFetch {
    type Response = Value;

    async fn handle_callback(
        &self,
        request: DataFetchRequest,
    ) -> Result<CallbackStream<Value>, PythonExecutionError> {
        let answer = json!([request.symbol, request.interval, request.limit]);
        Ok(Box::pin(tokio_stream::once(Ok(answer))))
    }

    fn type_name(&self) -> &'static str {
        "DataFetch"
    }
}

#[tokio::test]
async fn generated_dataclasses_are_there_in_a_worker_and_keep_to_serdes_defaults() {
    let Some(handler) = handler("served", "by_dataclass") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut module = DynamicCallbackModule::new();
    module.register_handler("trading", DataFetch).unwrap();
    let options = BackendOptions::new().callbacks(module).stubs(folder.path());
    let manager = ProcessManager::new().unwrap();
    let child: Child =
        soon(SubprocessIpcBackend::spawn_python(&manager, handler, options)).await.unwrap();
    let answer = soon(child.call(&json!("AAPL"))).await.unwrap();
    assert_eq!(answer, json!(["AAPL", "1w", null]));
    end(child).await;
}
