//! Functions that cannot be had: the start fails at once, and says what is wrong.

use rm_process::{
    BackendOptions, Doorway, ModulePathError, ProcessError, ProcessManager, PythonExecutionError,
    PythonHandler, ServedFunction, SubprocessIpcBackend, SubprocessIpcBackendError,
};
use serde_json::{Value, json};

use super::support::{WATCHDOG, handler, modules, soon};

async fn error(handler: PythonHandler) -> SubprocessIpcBackendError {
    let manager = ProcessManager::new().expect("a manager");
    let options = BackendOptions::new();
    let spawned = SubprocessIpcBackend::<Value>::spawn_python(&manager, handler, options);
    let error = soon(spawned).await.map(|_| ()).expect_err("it cannot be had");
    soon(manager.finished()).await;
    error
}

#[tokio::test]
async fn a_module_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let Some(handler) = handler("no_such_module", "f") else { return };
    let error = error(handler).await;
    let Some(PythonExecutionError::ModuleNotFound { module, message }) = error.remote() else {
        panic!("{error:?}");
    };
    assert_eq!(module, "no_such_module");
    assert!(message.starts_with("no module 'no_such_module'; searched: "), "{message}");
    assert!(message.contains("tests/calls"), "{message}");
}

#[tokio::test]
async fn a_module_that_raises_is_named_with_the_traceback_in_the_report() {
    for (module, expected, line) in [
        ("raises", "ZeroDivisionError: division by zero", "return 1 / 0"),
        ("imports_nothing", "ModuleNotFoundError: No module named 'not_installed'", "import not_i"),
        ("broken_syntax", "SyntaxError: ", "def f(:"),
        ("exits", "SystemExit: 3", "sys.exit(3)"),
    ] {
        let Some(mut handler) = handler(module, "f") else { return };
        // No formatter takes it as a file of the repository.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("broken_syntax.py"), "def f(:\n    pass\n").unwrap();
        handler.python_path.push(folder.path().to_owned());
        let error = error(handler).await;
        let Some(PythonExecutionError::ModuleNotFound { module: named, message }) = error.remote()
        else {
            panic!("{error:?}");
        };
        assert_eq!(named, module);
        assert!(message.starts_with(expected), "{message}");
        let text = error.to_string();
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("importlib"), "{text}");
    }
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named_with_the_nearest() {
    for (function, expected) in [
        ("ecko", "module \"served\" has no function \"ecko\"; nearest: echo"),
        ("METHODS.thrice", "module \"served\" has no function \"METHODS.thrice\"; "),
        (
            "COUNTS",
            "module \"served\" has no function \"COUNTS\"; it is of type dict, which cannot be called",
        ),
    ] {
        let Some(handler) = handler("served", function) else { return };
        let error = error(handler).await;
        let Some(found @ PythonExecutionError::FunctionNotFound { .. }) = error.remote() else {
            panic!("{error:?}");
        };
        assert!(found.to_string().starts_with(expected), "{found}");
    }
}

#[tokio::test]
async fn a_path_or_an_interpreter_that_is_not_there_is_named() {
    let Some(mut wrong) = handler("served", "echo") else { return };
    wrong.python_path.push("/no/such/folder".into());
    let error_of_path = error(wrong.clone()).await;
    assert!(
        matches!(
            &error_of_path,
            SubprocessIpcBackendError::Process(ProcessError::ModulePath(
                ModulePathError::Missing(path)
            )) if path.as_os_str() == "/no/such/folder"
        ),
        "{error_of_path:?}"
    );
    wrong.python = Some("/no/such/python".into());
    wrong.python_path.pop();
    let error_of_python = error(wrong).await;
    assert!(
        matches!(
            &error_of_python,
            SubprocessIpcBackendError::Process(ProcessError::Interpreter(_))
        ),
        "{error_of_python:?}"
    );
}

#[tokio::test]
async fn a_worker_that_somebody_else_starts_is_attached_through_a_doorway() {
    let Some(python) = std::env::var_os("REMOTEMEDIA_TEST_PYTHON") else { return };
    let function = ServedFunction { module: "served".to_owned(), function: "echo".to_owned() };
    let options = BackendOptions::new().config(&function).unwrap();
    let doorway = Doorway::<Value>::open(options).unwrap();
    let mut worker = std::process::Command::new(python)
        .args(["-m", "remotemedia_runtime.worker", "calls"])
        .envs(doorway.environment())
        .env("PYTHONPATH", modules())
        .spawn()
        .unwrap();
    let child = soon(doorway.accept(WATCHDOG)).await.unwrap();
    soon(child.ready()).await.unwrap();
    assert_eq!(soon(child.call(&json!([1, "two"]))).await.unwrap(), json!([1, "two"]));
    drop(child);
    assert!(worker.wait().unwrap().success());
}
