"""Random walks of the stub agent through its states: what tmo-health says beside what the agent was brought into."""

import random
from collections import Counter

from harness import Stub, World
from test_states import SCENES, Stage, look

STEPS = 10
LASTING = {"context_full"}  # the stub stays in it


def test_random_walks(request):
    chance, seen = random.Random(request.config.getoption("--seed")), Counter()
    scenes = {name: scene for name, scene in SCENES.items() if "stub" in scene[3] and name not in LASTING}
    for _ in range(request.config.getoption("--walks")):
        with World(Stub, chance.choice(["fullscreen", "classic"])) as world:
            pane = world.bare_pane(size=chance.choice([(80, 24), (120, 40), (200, 50)]))
            stage = Stage(world, pane)
            for name in chance.choices(list(scenes), k=STEPS):
                act, state, dialog, _ = scenes[name]
                playing = act(stage)
                next(playing)
                health = look(world, pane)
                seen[state, health["state"]] += 1
                assert (health["state"], health["dialog"]) == (state, dialog), (name, health, pane.screen())
                for _ in playing:
                    pass
                if state in ("login", "api_error"):  # it lasts until a turn goes well
                    stage.submit(("say", "It is well again."))
                    pane.is_idle()
            pane.kill()
            seen["dead", look(world, pane)["state"]] += 1
    for (truth, told), count in sorted(seen.items()):
        print(f"{truth:14} told {told:14} {count:5}")
    assert all(truth == told for truth, told in seen)
