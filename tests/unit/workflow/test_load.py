import os
import textwrap

import pytest

from tasker_actors.errors import TemplateError
from tasker_actors.workflow.dag import topological_order
from tasker_actors.workflow.load import MAX_FILE_BYTES, load_template, load_templates, parse_template
from tasker_actors.workflow.step_type import FailureStrategy, StepType
from tasker_actors.workflow.template import IdentityStrategy

MINIMAL = """
name: order
namespace_name: shop
version: 1.0.0
steps:
  - name: charge
    handler: {callable: shop.charge}
"""

# Every key that SPEC 5 names, in the shape in which the original's files use them.
EVERYTHING = """
# a comment before the document
---
name: refund_flow
namespace_name: shop
version: 2.1.0
description: "Refunds: with everything"
metadata:
  author: somebody
  tags:
    - pattern:linear
  documentation_url:
  created_at: "2025-12-18T00:00:00Z"
  anything: {goes: [here, 1]}
system_dependencies:
  primary: default
  secondary: [ledger]
domain_events:
  - name: refund.finished
    description: Described only
    schema: {type: object}
input_schema:
  type: object
  required: [order_id]
  properties:
    order_id: {type: string, format: uuid}
    when: {default: 2025-01-01, enum: [yes, no, 2025-01-01]}
lifecycle:
  max_duration_minutes: 30
  staleness_action: dlq
identity_strategy: caller_provided
steps:
  - name: decide
    step_type: decision
    description: Decides
    handler:
      callable: shop.handlers.Decide
      method: decide_now
      resolver: explicit_mapping
      initialization:
        threshold: 1000
        nothing:
    system_dependency:
    dependencies: []
    retry:
      retryable: true
      limit: 2
      backoff: fibonacci
      backoff_base_ms: 50
      max_backoff_ms: 2000
    timeout_seconds: 10
    publishes_events: []
  - name: divide
    type: batchable
    depends_on:
      - decide
    handler: {callable: "Shop::Handlers::Divide"}
    lifecycle: {max_steps_in_process_minutes: 120}
    batch_config:
      batch_size: 200
      parallelism: 5
      cursor_field: id
      worker_template: work
      failure_strategy: fail_fast
  - name: work
    type: batch_worker
    dependencies: [divide]
    handler: {callable: "native:./libwork.so#work"}
    composition: {anything: [1]}
    result_schema: {type: object}
  - name: join
    type: deferred_convergence
    dependencies: [decide, work]
    handler: {callable: shop.join}
    timeout_seconds: 0.5
    publishes_events:
      - name: refund.finished
        description: Done
        condition: success
        delivery_mode: broadcast
        publisher: shop.publishers.Refund
        schema: {type: object, required: [amount]}
      - name: refund.failed
        condition: permanent_failure
environments:
  test:
    steps:
      - name: ALL
        timeout_seconds: 3
        retry: {max_attempts: 1}
      - name: join
        timeout_seconds: 4
        handler:
          initialization: {mode: test}
  production:
    steps:
      - name: decide
        retry: {limit: 9}
"""


def parse(text, environment="production"):
    return parse_template(textwrap.dedent(text), file="t.yaml", environment=environment)


def test_a_file_with_every_key_loads_and_is_warned_of_those_without_effect():
    template, faults = parse(EVERYTHING)
    assert [fault.key for fault in faults] == ["batch_config.parallelism", "lifecycle"]
    assert {fault.severity for fault in faults} == {"notice"}
    decide, divide, work, join = template.steps
    assert (template.namespace_name, template.name, template.version) == ("shop", "refund_flow", "2.1.0")
    assert template.identity_strategy is IdentityStrategy.CALLER_PROVIDED
    assert template.metadata["documentation_url"] is None
    assert template.input_schema["properties"]["when"]["enum"] == ["yes", "no", "2025-01-01"]
    assert [step.type for step in template.steps] == [
        StepType.DECISION,
        StepType.BATCHABLE,
        StepType.BATCH_WORKER,
        StepType.DEFERRED_CONVERGENCE,
    ]
    assert (decide.handler.method, decide.handler.initialization) == (
        "decide_now",
        {"threshold": 1000, "nothing": None},
    )
    assert divide.dependencies == ("decide",)
    assert divide.batch_config.failure_strategy is FailureStrategy.FAIL_FAST
    assert work.composition == {"anything": [1]}
    assert [event.publisher for event in join.publishes_events] == ["shop.publishers.Refund", None]
    assert topological_order({step.name: step.dependencies for step in template.steps}) == (
        "decide", "divide", "work", "join")  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "attempts", "timeouts"),
    [
        ("development", [2, 3, 3, 3], [10, None, None, 0.5]),
        ("production", [9, 3, 3, 3], [10, None, None, 0.5]),
        ("test", [1, 1, 1, 1], [3, 3, 3, 4]),
    ],
)
def test_a_template_is_as_its_environment_has_it(environment, attempts, timeouts):
    template, faults = parse(EVERYTHING, environment)
    assert {fault.severity for fault in faults} == {"notice"}
    assert [step.retry_policy.max_attempts for step in template.steps] == attempts
    assert [step.timeout_seconds for step in template.steps] == timeouts


def test_the_hash_is_that_of_the_environment():
    hashes = [parse(EVERYTHING, name)[0].content_hash() for name in ("test", "production", "staging", "development")]
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]


def test_a_mistake_in_another_environment_is_found_and_says_where():
    text = MINIMAL + "environments: {production: {steps: [{name: charge, timeout_seconds: -1}]}}\n"
    template, (fault,) = parse(text, "development")
    assert template is None
    assert fault.message == "must be greater than 0, not -1 (in environment production)"
    _, (fault,) = parse(text, "production")
    assert "environment" not in fault.message


def test_merging_comes_before_validation():
    text = MINIMAL.replace("handler: {callable: shop.charge}", "description: no handler")
    text += "environments: {test: {steps: [{name: ALL, handler: {callable: x}}]}}\n"
    assert parse(text, "test")[0] is not None
    assert parse(text, "production")[0] is None


def test_an_override_can_make_a_cycle_and_that_is_a_fault():
    text = MINIMAL + "  - {name: pack, handler: {callable: x}, dependencies: [charge]}\n"
    text += "environments: {test: {steps: [{name: charge, dependencies: [pack]}]}}\n"
    _, (fault,) = parse(text, "test")
    assert "charge -> pack -> charge" in fault.message


@pytest.fixture
def folder(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


def load(*paths, environment="test", strict=False):
    return load_templates(paths, environment=environment, strict=strict)


def test_directories_are_read_all_the_way_down_in_the_order_of_paths(folder, tmp_path):
    folder("b.yml", MINIMAL.replace("order", "second"))
    folder("a/deep/x.yaml", MINIMAL.replace("order", "first"))
    folder("README.md", "no template")
    folder(".hidden/x.yaml", "no template: [")
    folder(".#b.yml", "no template: [")
    loaded = load(tmp_path)
    assert [template.name for template in loaded.templates] == ["first", "second"]
    assert loaded.files[("shop", "second", "1.0.0")] == str(tmp_path / "b.yml")
    assert loaded.warnings == []


def test_a_file_named_twice_is_loaded_once(folder, tmp_path):
    path = folder("a.yaml", MINIMAL)
    assert len(load(path, tmp_path, str(path)).templates) == 1


def test_the_same_identity_in_two_files_is_an_error_that_names_both(folder, tmp_path):
    folder("a.yaml", MINIMAL)
    folder("b.yaml", MINIMAL)
    with pytest.raises(TemplateError) as raised:
        load(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}/b.yaml: version: shop/order@1.0.0 is defined in {tmp_path}/a.yaml too"
    )  # fmt: skip


def test_two_versions_and_two_namespaces_are_no_duplicates(folder, tmp_path):
    folder("a.yaml", MINIMAL)
    folder("b.yaml", MINIMAL.replace("1.0.0", "1.0.1"))
    folder("c.yaml", MINIMAL.replace("shop\n", "store\n"))
    assert len(load(tmp_path).templates) == 3


def test_errors_of_all_files_are_raised_together(folder, tmp_path):
    folder("a.yaml", MINIMAL.replace("1.0.0", "1.0"))
    folder("b.yaml", "a: [")
    folder("c.yaml", MINIMAL)
    with pytest.raises(TemplateError) as raised:
        load(tmp_path, tmp_path / "missing.yaml")
    assert [fault.file.rsplit("/", 1)[-1] for fault in raised.value.faults] == ["a.yaml", "b.yaml", "missing.yaml"]
    assert raised.value.exit_code == 2


def test_unknown_keys_are_warnings_unless_strict(folder, tmp_path):
    folder("a.yaml", MINIMAL + "descripton: x\n")
    loaded = load(tmp_path)
    assert (len(loaded.templates), [fault.key for fault in loaded.warnings]) == (1, ["descripton"])
    with pytest.raises(TemplateError, match="did you mean 'description'"):
        load(tmp_path, strict=True)


def test_a_directory_without_templates_gives_none(tmp_path):
    assert load(tmp_path).templates == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00name", "is not UTF-8: byte 0"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than 1048576 bytes"),
    ],
)
def test_files_that_are_no_text_or_too_large(tmp_path, content, words):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    template, (fault,) = load_template(path, environment="test")
    assert template is None
    assert words in fault.message


def test_a_file_that_is_not_there_and_a_directory_are_faults(tmp_path):
    for path in (tmp_path / "nothing.yaml", tmp_path):
        template, (fault,) = load_template(path, environment="test")
        assert template is None
        assert fault.file == os.fspath(path)
        assert "cannot be read" in fault.message


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_template(path, environment="test")[0] is not None


def test_what_is_no_plain_file_in_a_directory_is_passed_over_and_never_read_to_its_end(tmp_path):
    (tmp_path / "good.yaml").write_text(MINIMAL)
    os.mkfifo(tmp_path / "pipe.yaml")  # opening it would wait for a writer
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "directory.yaml").mkdir()

    loaded = load_templates([tmp_path], environment="test", strict=False)

    assert [template.name for template in loaded.templates] == ["order"]


def test_a_link_that_leads_out_of_its_directory_is_refused_and_costs_no_other_file(folder, tmp_path):
    outside = folder("elsewhere/secret.yaml", MINIMAL.replace("order", "secret"))
    inside = folder("templates/order.yaml", MINIMAL)
    (inside.parent / "out.yaml").symlink_to("../elsewhere/secret.yaml")
    (inside.parent / "passwords.yml").symlink_to("/etc/passwd")
    (inside.parent / "bad.yaml").write_text("a: [")

    with pytest.raises(TemplateError) as raised:
        load(inside.parent)

    of_links = {fault.file: fault.message for fault in raised.value.faults if fault.file.startswith(str(tmp_path))}
    assert set(of_links) == {str(inside.parent / name) for name in ("bad.yaml", "out.yaml", "passwords.yml")}
    assert of_links[str(inside.parent / "out.yaml")] == (
        f"leads out of {inside.parent}, to {outside}: put that file there, or name it as a template itself"
    )
    assert "/etc/passwd" in of_links[str(inside.parent / "passwords.yml")]
    assert "root:" not in str(raised.value)


def test_links_that_stay_in_their_directory_are_read_and_so_is_one_that_is_named_itself(folder, tmp_path):
    """As Kubernetes mounts a ConfigMap: each file is a link into a hidden directory, which is a link itself."""
    mounted = tmp_path / "mounted"
    folder("mounted/..2026_01/order.yaml", MINIMAL)
    (mounted / "..data").symlink_to("..2026_01")
    (mounted / "order.yaml").symlink_to("..data/order.yaml")
    folder("elsewhere/other.yaml", MINIMAL.replace("order", "other"))
    (mounted / "linked").symlink_to("../elsewhere")  # directories that are links are passed over
    (tmp_path / "named.yaml").symlink_to("elsewhere/other.yaml")

    assert [template.name for template in load(mounted, tmp_path / "named.yaml").templates] == ["order", "other"]
    (tmp_path / "link").symlink_to("mounted")
    assert [template.name for template in load(tmp_path / "link").templates] == ["order"]


def test_a_device_that_is_named_as_a_template_is_read_up_to_the_largest_size():
    template, (fault,) = load_template("/dev/zero", environment="test")

    assert template is None
    assert f"larger than {MAX_FILE_BYTES} bytes" in fault.message
