import { Link, useLocation } from "wouter";
import { HostileText } from "../../ui/HostileText";
import { Title } from "../../ui/Title";

export function NotFound() {
  const [path] = useLocation();
  return (
    <>
      <Title>There is no such page</Title>
      <p>
        Nothing is at <HostileText clamp={3}>{path}</HostileText>
      </p>
      <Link href="/">Go to the first page</Link>
    </>
  );
}
