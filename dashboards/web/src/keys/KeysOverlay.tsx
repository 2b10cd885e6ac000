import { Kbd, Modal } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import classes from "./KeysOverlay.module.css";
import { useKeyGroups, useKeys } from "./keys";

/** What stands on a key, where that is not what a browser calls it. */
const CAPS: Record<string, string> = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** The keys that are pressed one after the other. */
const caps = (keys: string) => (keys === " " ? ["Space"] : keys.split(" ").map((key) => CAPS[key] ?? key));

/** `?` shows every key that means something on this page. */
export function KeysOverlay() {
  const [isOpen, { open, close }] = useDisclosure(false);
  useKeys("Everywhere", [{ keys: "?", does: "Show these keys", run: open }]);
  // Several parts of a page may have keys of one name.
  const groups = useKeyGroups(isOpen);
  const names = [...new Set(groups.map(({ name }) => name))];
  return (
    <Modal opened={isOpen} onClose={close} title="Keys" size="lg">
      <div className={classes.groups}>
        {names
          .map((name) => ({ name, keys: groups.filter((of) => of.name === name).flatMap(({ keys }) => keys) }))
          .filter(({ keys }) => keys.length > 0)
          .map(({ name, keys }) => (
            <section key={name}>
              <h3>{name}</h3>
              <dl>
                {keys.map(({ keys, does }) => (
                  <div key={keys}>
                    <dt>
                      {caps(keys).map((key) => (
                        <Kbd key={key} size="xs">
                          {key}
                        </Kbd>
                      ))}
                    </dt>
                    <dd>{does}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
      </div>
    </Modal>
  );
}
