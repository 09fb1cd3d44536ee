//! The example of the contract of calls and callbacks, as it stands there: its imports, its types, its
//! handler and its registration; then a child calls it.

use std::pin::Pin;

use futures_util as futures;
use futures_util::Stream;
use rm_process as kameo_child_process;

use kameo_child_process::PythonExecutionError;
use kameo_child_process::callback::{DynamicCallbackModule, TypedCallbackHandler};
use serde::{Deserialize, Serialize};

use crate::ask::{Answer, Ask};
use crate::support::{child, manager, soon};

// Define your callback types
#[derive(Serialize, Deserialize, Debug)]
struct DataFetchRequest {
    symbol: String,
    start_date: String,
}

#[derive(Serialize, Deserialize, Debug)]
struct DataFetchResponse {
    data: Vec<f64>,
    timestamp: String,
}

// Implement the handler
struct DataFetchHandler;

#[async_trait::async_trait]
impl TypedCallbackHandler<DataFetchRequest> for DataFetchHandler {
    type Response = DataFetchResponse;

    async fn handle_callback(
        &self,
        request: DataFetchRequest,
    ) -> Result<
        Pin<Box<dyn Stream<Item = Result<Self::Response, PythonExecutionError>> + Send>>,
        PythonExecutionError,
    > {
        assert_eq!((&*request.symbol, &*request.start_date), ("AAPL", "2024-01-01"));
        // Return streaming responses
        let responses = (0..5).map(|i| {
            Ok(DataFetchResponse {
                data: vec![100.0 + i as f64; 10],
                timestamp: format!("2024-01-{:02}", i + 1),
            })
        });
        Ok(Box::pin(futures::stream::iter(responses)))
    }

    fn type_name(&self) -> &'static str {
        "DataFetch"
    }
}

#[tokio::test]
async fn the_contracts_example_compiles_and_its_five_answers_arrive()
-> Result<(), Box<dyn std::error::Error>> {
    // Register handler and spawn subprocess
    let mut callback_module = DynamicCallbackModule::new();
    callback_module.register_handler("trading", DataFetchHandler)?;

    let options = rm_process::BackendOptions::new().callbacks(callback_module);
    let manager = manager();
    let child =
        rm_process::SubprocessIpcBackend::<Ask>::spawn_ready(&manager, child("serve"), options);
    let child = soon(child).await?;
    let ask = Ask::Callback {
        path: "trading.DataFetch".to_owned(),
        value: serde_json::json!({ "symbol": "AAPL", "start_date": "2024-01-01" }),
    };
    let mut answers = child.stream(&ask).await?;
    let mut came = 0;
    while let Some(answer) = soon(answers.next()).await {
        let Answer::Value(value) = answer? else { panic!("it is a value") };
        let response: DataFetchResponse = serde_json::from_value(value)?;
        assert_eq!(response.data, [100.0 + f64::from(came); 10]);
        came += 1;
        assert_eq!(response.timestamp, format!("2024-01-{came:02}"));
    }
    assert_eq!(came, 5);
    Ok(())
}

/// The types that the contract names, by the names that it gives them.
#[test]
fn all_types_of_the_contract_are_there() {
    use kameo_child_process::callback::{
        TypedCallbackEnvelope, TypedCallbackReceiver, TypedCallbackResponse,
    };
    use kameo_child_process::child::SubprocessIpcChild;
    use kameo_child_process::protocol::{Control, MultiplexEnvelope};
    use kameo_child_process::{
        KameoChildProcessMessage, ReplySlot, SubprocessIpcBackend, SubprocessIpcBackendError,
    };

    fn is_message<M: KameoChildProcessMessage>() {}
    fn is_error<E: std::error::Error>() {}
    fn exists<T>() {}
    is_message::<Ask>();
    is_error::<SubprocessIpcBackendError>();
    is_error::<PythonExecutionError>();
    exists::<(SubprocessIpcBackend<Ask>, SubprocessIpcChild<Ask>, ReplySlot<Answer>)>();
    exists::<(TypedCallbackEnvelope, TypedCallbackResponse, TypedCallbackReceiver)>();
    exists::<MultiplexEnvelope<Control<Ask>>>();
    for word in [Control::Sync(1), Control::Stream(1), Control::StreamEnd(None)] {
        let envelope =
            MultiplexEnvelope { correlation_id: 7, context: Default::default(), inner: word };
        assert!(format!("{envelope:?}").contains("correlation_id: 7"));
    }
}

#[tokio::test]
async fn a_receiver_dispatches_an_envelope_and_its_last_response_is_final() {
    use futures_util::StreamExt;
    use kameo_child_process::callback::{TypedCallbackEnvelope, TypedCallbackReceiver};

    let mut module = DynamicCallbackModule::new();
    module.register_handler("trading", DataFetchHandler).unwrap();
    let receiver = TypedCallbackReceiver::new(module);
    let envelope = |callback_path: &str, symbol: &str| {
        let request = serde_json::json!({ "symbol": symbol, "start_date": "2024-01-01" });
        let mut data = Vec::new();
        rm_process::value::encode(&request, &mut data, Default::default()).expect("plain data");
        TypedCallbackEnvelope {
            callback_path: callback_path.to_owned(),
            correlation_id: 41,
            callback_data: data.into(),
        }
    };
    let responses: Vec<_> =
        receiver.dispatch(envelope("trading.DataFetch", "AAPL")).collect().await;
    assert_eq!(responses.len(), 6);
    assert!(responses.iter().all(|response| response.correlation_id == 41));
    assert!(responses[..5].iter().all(|one| !one.is_final && matches!(one.response, Some(Ok(_)))));
    assert_eq!((responses[5].is_final, &responses[5].response), (true, &None));

    let responses: Vec<_> = receiver.dispatch(envelope("trading.Nothing", "AAPL")).collect().await;
    let [only] = &responses[..] else { panic!("{responses:?}") };
    assert!(only.is_final);
    let text = only.response.clone().unwrap().unwrap_err().to_string();
    assert_eq!(text, "no callback \"trading.Nothing\"; there are: trading.DataFetch");
}
