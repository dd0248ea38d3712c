import pytest

from tunny.core.errors import ConfigError
from tunny.engine.group import World, world_of

MEETING = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_without_a_launcher_one_process_is_alone():
    assert world_of({}) == World(rank=0, size=1, local_rank=0)


def test_what_torchrun_sets_is_taken():
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", **MEETING}
    assert world_of(told) == World(rank=5, size=8, local_rank=1)


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_that_would_train_alone_are_refused(name):
    with pytest.raises(ConfigError, match="2 processes were started, but each would train alone"):
        world_of({name: "2"})


@pytest.mark.parametrize("told", [{"PMI_SIZE": "2"}, {"RANK": "0", "WORLD_SIZE": "2"}])
def test_who_is_to_set_the_variables_is_told_of_them_all(told):
    with pytest.raises(ConfigError, match="or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT"):
        world_of(told)


def test_a_batch_step_of_one_task_is_no_group():
    assert world_of({"SLURM_STEP_NUM_TASKS": "1"}).size == 1


@pytest.mark.parametrize("told", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1", "WORLD_SIZE": "2"}, {"RANK": "1"}])
def test_a_rank_outside_the_world_is_refused(told):
    with pytest.raises(ConfigError, match="a rank is 0 to"):
        world_of({**told, **MEETING})


def test_a_rank_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="expected numbers in RANK"):
        world_of({"RANK": "first"})


def test_a_group_without_a_place_to_meet_is_refused():
    with pytest.raises(ConfigError, match="MASTER_ADDR and MASTER_PORT are not"):
        world_of({"RANK": "0", "WORLD_SIZE": "2"})
