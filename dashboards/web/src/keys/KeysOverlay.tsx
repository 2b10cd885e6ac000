import { Kbd, Modal } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import classes from "./KeysOverlay.module.css";
import { useKeyGroups, useKeys } from "./keys";

/** `?` shows every key that means something on this page. */
export function KeysOverlay() {
  const [isOpen, { open, close }] = useDisclosure(false);
  useKeys("Everywhere", [{ keys: "?", does: "Show these keys", run: open }]);
  const groups = useKeyGroups(isOpen);
  return (
    <Modal opened={isOpen} onClose={close} title="Keys" size="lg">
      <div className={classes.groups}>
        {groups
          .filter(({ keys }) => keys.length > 0)
          .map(({ name, keys }) => (
            <section key={name}>
              <h3>{name}</h3>
              <dl>
                {keys.map(({ keys, does }) => (
                  <div key={keys}>
                    <dt>
                      {keys.split(" ").map((key) => (
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
